# bench/workers.sh: the figures of workers and claims; read by bench/run
# and bench/peers/run.
# shellcheck shell=bash

# fill QUEUE STREAMS JOBS: so many in each stream, up to 1,000
fill()
{
	sql "" "SELECT count(spool.enqueue_many('$1', payloads[1:$3], stream::text))
			FROM bench.batch, generate_series(1, $2) stream" CHECKPOINT >/dev/null
}

# queue NAME COMMAND: make it, if it is not there, paused.  Workers that have
# emptied it once stay, so that only the first turn sees them start.
queue()
{
	sql "" "SELECT spool.create_queue('$1', if_not_exists => true)" \
		"SELECT spool.pause_queue('$1')" "SELECT spool.$2" >/dev/null
}

drain() { sql "" "CALL bench.drain('$1', $2, $3)"; }

# ---- from commit to start ----

# quiet DATABASE: a queue whose worker notes when its jobs begin
quiet()
{
	sql "$1" "SELECT spool.create_queue('one', workers => 1)" \
		"SELECT spool.set_handler('one', 'INSERT INTO bench.begun VALUES ((\$1).seq, clock_timestamp())')" \
		>/dev/null
	begin_jobs "$1" 10 >/dev/null
}

# The databases with one such queue, alone and among 1,000.
make_quiet()
{
	local database

	for database in _quiet _queues; do
		database "$database"
		[ "$database" = _quiet ] ||
			sql "$database" "SELECT spool.create_queue('q' || n, workers => 1),
				spool.set_handler('q' || n, 'SELECT 1') FROM generate_series(1, 999) n" >/dev/null
		quiet "$database"
	done
}

# begin_jobs DATABASE JOBS: microseconds from commit to start, one job at a
# time: median and 99th percentile
begin_jobs()
{
	sql "$1" "TRUNCATE bench.sent, bench.begun" CHECKPOINT
	PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" \
		pgbench -n -M prepared -f "$bench/latency.sql" -t "$2" "$base$1" >/dev/null 2>&1
	local tries=0
	until [ "$(sql "$1" "SELECT count(*) FROM bench.begun")" = "$2" ]; do
		[ $((tries++)) -lt 300 ] || { echo "$0: jobs do not begin" >&2; exit 1; }
		sleep 0.1
	done
	sql "$1" "SELECT concat_ws(' ', percentile_disc(0.5) WITHIN GROUP (ORDER BY us), percentile_disc(0.99) WITHIN GROUP (ORDER BY us))
		FROM (SELECT 1e6 * extract(epoch FROM b.at - s.at) AS us FROM bench.sent s JOIN bench.begun b USING (seq)) j"
}
begin_quiet() { begin_jobs _quiet "$starts" | cut -d ' ' -f 1; }
begin_queues() { begin_jobs _queues "$starts" | cut -d ' ' -f 1; }

latency()
{
	local turn

	for ((turn = 0; turn < times; turn++)); do
		begin_jobs _quiet "$starts"
	done >"$files/latency"
	cut -d ' ' -f 1 "$files/latency" >"$files/a"
	sed 's/.*/1000/' "$files/latency" >"$files/b"
	line "commit to start, us, median vs 1 ms" 1.00 most
	cut -d ' ' -f 2 "$files/latency" >"$files/a"
	sed 's/.*/5000/' "$files/latency" >"$files/b"
	line "commit to start, us, 99 % vs 5 ms" 1.00 most
}

# ---- jobs a second ----
worker_handler()
{
	queue worker "set_handler('worker', 'SELECT 1')"
	sql "" "CALL bench.fill('worker', $((handled * 3)))" CHECKPOINT >/dev/null
	drain worker 1 $((handled * 3000))
}
process_as_many() { process handler "$((handled * 3))"; }

# workers_on_100 WORKERS HANDLER JOBS: in each of 100 streams
workers_on_100()
{
	queue workers "set_handler('workers', '$2')"
	fill workers 100 "$3"
	drain workers "$1" $((100 * $3))
}
workers_1() { workers_on_100 1 "SELECT 1" $((handled * 10)); }
workers_2() { workers_on_100 2 "SELECT 1" $((handled * 10)); }
busy="SELECT count(*) FROM generate_series(1, 10000)"
workers_1_busy() { workers_on_100 1 "$busy" $((handled / 5 + 5)); }
workers_2_busy() { workers_on_100 2 "$busy" $((handled / 5 + 5)); }

streams_100k()
{
	queue streams "set_handler('streams', 'SELECT 1')"
	fill streams $((handled * 1000)) 1
	drain streams 1 $((handled * 1000))
}

workers_true()
{
	queue workers_true "set_program('workers_true', '/bin/true')"
	fill workers_true 10 $((programs / 10))
	drain workers_true "$1" "$programs"
}
workers_1_true() { workers_true 1; }
workers_2_true() { workers_true 2; }

# ---- claims ----

# Both are made anew, with twice as many as will be claimed.
fill_claims()
{
	local each=$((claims * 8 / 10))

	sql "" "SELECT spool.drop_queue('claim', force => true, if_exists => true)" \
		"SELECT spool.create_queue('claim')" >/dev/null
	fill claim 1000 "$each"
	sql "" "TRUNCATE bench.message" \
		"INSERT INTO bench.message (message) SELECT to_jsonb(payload)
			FROM bench.batch, generate_series(1, $each), unnest(payloads) AS payload" \
		"ANALYZE bench.message" CHECKPOINT >/dev/null
}
claim_many() { script claim 100 -c 4 -j 2 -t "$claims"; }
claim_messages() { script message 100 -c 4 -j 2 -t "$claims"; }

figures_of_workers()
{
	if asked claim; then
		between=fill_claims
		compare "claim, ack of 100, 1,000 streams vs pgmq's way" 3.00 claim_many claim_messages
		between=
	fi
	if ! sql "" "SHOW shared_preload_libraries" | grep -qw spool; then
		echo "workers: spool is not preloaded"
		return
	fi
	if asked latency || asked queues_1000; then
		make_quiet
	fi
	! asked latency || latency
	! asked queues_1000 || compare "commit to start, us, 1,000 queues vs 1" 1.25 begin_queues begin_quiet most
	! asked worker_handler || compare "1 worker, empty handler vs process" 1.00 worker_handler process_as_many
	if asked workers_two; then
		compare "2 workers, 100 streams vs 1 worker" 1.50 workers_2 workers_1
		compare "2 workers, handler of 1 ms vs 1 worker" - workers_2_busy workers_1_busy
	fi
	! asked streams_100k || compare "1 worker, 100,000 streams vs 1 stream" 0.50 streams_100k worker_handler
	if ! asked worker_program; then
		:
	elif command -v fspl >/dev/null; then
		compare "1 worker, /bin/true vs fspl queue-process" - workers_1_true fspl_true
		compare "2 workers, /bin/true vs fspl queue-process" 1.50 workers_2_true fspl_true
	else
		echo "workers, /bin/true: fspl is not installed"
	fi
}
