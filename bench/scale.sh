# bench/scale.sh: times that may not grow with the number of streams, queues
# and waiting packets; read by bench/run, measured if "scale" or one of
# scale_streams, scale_queues, scale_packets is asked for by name.
# shellcheck shell=bash
#
# There is a database for each power of ten.  Each figure is measured in all of
# them in turn, some times; printed are the medians in microseconds, and the
# worst ratio of one to that of two powers before, which may be 1.5.

# powers FIRST LAST: as many as this run has
powers()
{
	local last=$2

	[ -z "$quick" ] || last=$(($2 - 2))
	seq "$1" "$last"
}

# grown DIMENSION POWER: make the database
grown()
{
	database "_$1_$2"
	psql -Xq -v ON_ERROR_STOP=1 -d "${base}_$1_$2" -f "$here/scale.sql" >/dev/null
	sql "_$1_$2" "SELECT spool.create_queue('ten'), spool.create_queue('many')" \
		"SELECT spool.set_handler('many', 'SELECT 1')" \
		"SELECT count(spool.enqueue('ten', 'x', n::text)) FROM generate_series(1, 10) n" >/dev/null
}

# settle DATABASE: what it takes for the first call must not meet the figures
settle()
{
	psql -Xq -d "$base$1" -c "VACUUM ANALYZE" -c CHECKPOINT
}

# grows NAME REQUIRED DIMENSION PROCEDURE TURNS [ARGUMENT]: a figure; REQUIRED
# is 1.5, - for nothing, or "row" for a time that is told per row
grows()
{
	local name=$1 required=$2 dimension=$3 procedure=$4 turns=$5 more=${6:-}
	local power turn rounds=$(((times + 1) / 2))

	[ "$procedure" != maintain ] || rounds=1
	for power in "${grown[@]}"; do
		: >"$files/$power"
	done
	for ((turn = 0; turn < rounds; turn++)); do
		for power in "${grown[@]}"; do
			sql "_${dimension}_$power" "SET synchronous_commit = off" \
				"CALL bench.$procedure($turns, ${streams[$power]}$more)" >>"$files/$power"
		done
	done
	for power in "${grown[@]}"; do
		echo "$power $(median <"$files/$power")"
	done | awk -v name="$name" -v required="$required" '
		{ us[$1] = required == "row" ? $2 / 10 ^ $1 : $2; first = first ? first : $1; last = $1 }
		END {
			printf "%-34s", name
			for (power = 2; power <= 7; power++) {
				printf " %9s", power in us ? sprintf(us[power] < 10 ? "%.2f" : "%.0f", us[power]) : ""
				if (power - 2 in us && power in us && us[power] / us[power - 2] > worst)
					worst = us[power] / us[power - 2]
			}
			bad = required == 1.5 && worst > 1.5
			printf " %6.2f %5s %s\n", worst, required == "row" ? "-" : required,
				required == 1.5 ? bad ? "MISS" : "ok" : ""
			exit bad
		}' || missed=1
}

head_of()
{
	printf '\n%-34s %9s %9s %9s %9s %9s %9s %6s %5s\n' "$1" 10^2 10^3 10^4 10^5 10^6 10^7 ratio needed
}

# The views of a queue that stays, and of all.
views()
{
	grows "stat_queues of a queue of 10 streams" 1.5 "$1" stat_queue $((turns / 4))
	grows "stat_streams of it" 1.5 "$1" stat_streams $((turns / 4))
	grows "gaps of it" 1.5 "$1" gaps $((turns / 4))
}

# ---- streams of one queue ----
scale_streams()
{
	local power n

	mapfile -t grown < <(powers 2 6)
	streams=()
	for power in "${grown[@]}"; do
		n=$((10 ** power))
		streams[power]=$n
		grown streams "$power"
		sql "_streams_$power" "SET synchronous_commit = off" "CALL bench.spread(1, $((n / 2)))" &
		sql "_streams_$power" "SET synchronous_commit = off" "CALL bench.spread($((n / 2 + 1)), $n)" &
		wait
	done
	for power in "${grown[@]}"; do
		settle "_streams_$power"
	done
	head_of "n streams of one queue, us"
	grows "take of 1, all have work" 1.5 streams take_1 "$turns"
	grows "take of 100" 1.5 streams take_100 5
	grows "enqueue" 1.5 streams enqueue "$turns"
	grows "enqueue into a new stream" 1.5 streams enqueue_new "$turns"
	for power in "${grown[@]}"; do
		empty "_streams_$power"
	done
	grows "take of nothing" 1.5 streams take_none "$turns"
	grows "take, one stream has work" 1.5 streams take_the_one "$turns"
	grows "claim and ack, one has work" 1.5 streams claim_the_one "$turns"
	grows "process, one has work" 1.5 streams process_the_one "$turns"
	grows "take, 100 streams have work" 1.5 streams take_hundred 10
	grows "claim and ack, 100 have work" 1.5 streams claim_hundred 10
	views streams
	grows "ls of one stream" 1.5 streams ls "$turns"
	grows "stat_streams of all, per row" row streams stat_streams_all 1
	if preloaded; then
		for power in "${grown[@]}"; do
			work_on streams "$power" "'many'"
		done
		grows "worker, commit to start" 1.5 streams wake "$wakes" ", 'stream'"
	fi
	grows "maintain" - streams maintain 1
}

# empty DATABASE: take what waits
empty()
{
	sql "$1" "SET synchronous_commit = off" \
		"DO \$\$ BEGIN LOOP PERFORM FROM spool.take('many', 10000); EXIT WHEN NOT FOUND; COMMIT; END LOOP; END \$\$" \
		>/dev/null
	settle "$1"
}

# work_on DIMENSION POWER QUEUES: give the queues a handler that tells when it
# began, and a worker each
work_on()
{
	sql "_$1_$2" "SELECT spool.set_handler(name, 'INSERT INTO bench.begun VALUES ((\$1).seq, clock_timestamp())'),
			spool.alter_queue(name, workers => 1)
		FROM (SELECT $3 AS name) queues" >/dev/null
}

# ---- queues ----
scale_queues()
{
	local power n

	mapfile -t grown < <(powers 2 4)
	streams=()
	for power in "${grown[@]}"; do
		n=$((10 ** power))
		streams[power]=$n
		grown queues "$power"
		sql "_queues_$power" "SELECT count(spool.create_queue('q' || n)) FROM generate_series(1, $n) n" \
			"SELECT count(spool.set_handler('q' || n, 'SELECT 1')) FROM generate_series(1, $n) n" \
			"SELECT count(spool.enqueue('q' || n, 'x')) FROM generate_series(1, $n) n" \
			"DO \$\$ BEGIN FOR n IN 1 .. $n LOOP PERFORM FROM spool.take('q' || n); COMMIT; END LOOP; END \$\$" >/dev/null
		settle "_queues_$power"
	done
	head_of "n queues, us"
	grows "take" 1.5 queues q_take "$turns"
	grows "claim and ack" 1.5 queues q_claim "$turns"
	grows "process" 1.5 queues q_process "$turns"
	grows "enqueue" 1.5 queues q_enqueue "$turns"
	views queues
	grows "queues, per row" row queues queues 5
	if preloaded; then
		for power in "${grown[@]}"; do
			sql "_queues_$power" "DO \$\$ BEGIN FOR n IN 1 .. ${streams[$power]} LOOP PERFORM FROM spool.take('q' || n, 1000); COMMIT; END LOOP; END \$\$" >/dev/null
			work_on queues "$power" "'q' || generate_series(1, ${streams[$power]})"
		done
		grows "worker, commit to start" 1.5 queues wake "$wakes" ", 'queue'"
	fi
	grows "maintain" - queues maintain 1
}

# ---- waiting packets ----
scale_packets()
{
	local power n

	mapfile -t grown < <(powers 3 7)
	streams=()
	for power in "${grown[@]}"; do
		n=$((10 ** power))
		streams[power]=100
		grown packets "$power"
		sql "_packets_$power" "SET synchronous_commit = off" \
			"SELECT count(spool.enqueue_many('many', payloads[1:$((n < 100000 ? n / 100 : 1000))], stream::text))
				FROM bench.batch, generate_series(1, $((n < 100000 ? 1 : n / 100000))), generate_series(1, 100) stream" >/dev/null
		settle "_packets_$power"
	done
	head_of "n packets wait in 100 streams, us"
	grows "enqueue" 1.5 packets enqueue "$turns"
	grows "enqueue into a new stream" 1.5 packets enqueue_new "$turns"
	grows "take of 1" 1.5 packets take_1 "$turns"
	grows "take of 100" 1.5 packets take_100 2
	grows "claim and ack of 100" 1.5 packets claim_100 2
	grows "ls of one stream" 1.5 packets ls "$turns"
	views packets
	grows "stat_streams of all" - packets stat_streams_all 5
	grows "maintain" - packets maintain 1
}

preloaded() { sql "" "SHOW shared_preload_libraries" | grep -qw spool; }

figures_of_scale()
{
	local grown streams

	! asked_for scale_streams || scale_streams
	! asked_for scale_queues || scale_queues
	! asked_for scale_packets || scale_packets
}
