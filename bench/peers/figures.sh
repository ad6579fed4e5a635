# bench/peers/figures.sh: how each contestant is filled, driven and counted.
# Read by bench/peers/run.  A figure is a function with the contestant as first
# argument; it prints a value, in a database that "fresh" has just made.
# shellcheck shell=bash

# ---- databases ----

# the one that installs it, unpacked
pgmq_script() { find "$files/share" -name 'pgmq--*.sql' ! -name 'pgmq--*--*.sql'; }

make_template()
{
	createdb "$template"
	databases+=("$template")
	tar -xzf "$here/node_modules/@electric-sql/pglite-pgmq/dist/pgmq.tar.gz" -C "$files"
	psql -Xq -v ON_ERROR_STOP=1 -d "$template" \
		-f "$(pgmq_script)"
	driven=$template driver graphile_worker setup
	driven=$template driver pg_boss setup
	driven=$template driver pg_boss statements "$files"
	psql -XAtq -v ON_ERROR_STOP=1 -d "$template" -f "$here/template.sql" >/dev/null
}

# A new database in the place of the last one.
fresh()
{
	dropdb --if-exists --force "$base"
	database "" "$template"
	sql "" "INSERT INTO peers.batch SELECT payloads,
			ARRAY(SELECT to_jsonb(p) FROM unnest(payloads) p), peers.specs(payloads)
		FROM bench.batch" >/dev/null
}

# driver PROGRAM ARGUMENT...: in the database of the measurement, or in $driven
driver()
{
	local program=$1

	shift
	PGDATABASE=${driven:-$base} timeout -k 5 300 "$node" "$here/$program.js" "$@"
}

# ---- jobs that wait ----

# waiting CONTESTANT: how many there are
waiting()
{
	case $1 in
		spool*) sql "" "SELECT sum((SELECT count(*) FROM spool.ls(queue, max_rows => NULL))) FROM spool.queues" ;;
		insert) sql "" "SELECT (SELECT count(*) FROM bench.single) + (SELECT count(*) FROM bench.many)
			+ (SELECT count(*) FROM bench.waiting)" ;;
		table) sql "" "SELECT count(*) FROM peers.job" ;;
		pgq) sql "" "SELECT pgq.ticker('q')" "SELECT pending_events FROM pgq.get_consumer_info('q', 'consumer')" ;;
		pgmq*) sql "" "SELECT count(*) FROM pgmq.q_q" ;;
		graphile_worker) sql "" "SELECT count(*) FROM graphile_worker.jobs" ;;
		pg_boss) sql "" "SELECT count(*) FROM pgboss.job WHERE name IN ('q', 'fifo') AND state < 'active'" ;;
	esac
}

# fill_jobs CONTESTANT THOUSANDS [BATCH]: so many jobs, in one stream where there are
# streams; for PgQ with a tick after each BATCH.  Functions that put jobs depend
# on i, so that they are called for each.
fill_jobs()
{
	local one="generate_series(1, $2) i, peers.batch"

	case $1 in
		spool_*) sql "" "SELECT spool.create_queue('q', order_by => '${1#spool_}')" ;;
		spool) sql "" "SELECT spool.create_queue('q')" ;;
	esac
	case $1 in
		spool_latest) sql "" "SELECT count(spool.enqueue('q', payloads[n], (i * 1000 + n)::text))
			FROM bench.batch, generate_series(1, $2) i, generate_series(1, 1000) n" ;;
		spool*) sql "" "CALL bench.fill('q', $2)" ;;
		insert) fill_rows "$2" ;;
		table) sql "" "INSERT INTO peers.job (payload) SELECT t FROM $one, unnest(texts) t" ;;
		pgq) sql "" "CALL peers.fill_pgq($2 * 1000 / ${3:-1000}, ${3:-1000})" ;;
		pgmq*) sql "" "SELECT count(*) FROM $one, pgmq.send_batch('q', jsons, i - i)" ;;
		graphile_worker) sql "" "SELECT count(*) FROM $one, graphile_worker.add_jobs(specs, i < 0)" ;;
		pg_boss) sql "" "INSERT INTO pgboss.job (name, data) SELECT 'q', j FROM $one, unnest(jsons) j" ;;
	esac
	settle "$1" $(($2 * 1000))
} >/dev/null

# fill_streams CONTESTANT STREAMS JOBS: so many jobs, up to 1,000, in each; they
# arrive for each stream in turn
fill_streams()
{
	local all="(SELECT array_agg(n::text) AS streams FROM generate_series(1, $2) n) s, generate_series(1, $3) i, peers.batch"

	case $1 in
		spool) sql "" "SELECT spool.create_queue('q')" "SELECT count(spool.enqueue('q', texts[i], stream))
			FROM (SELECT * FROM $all ORDER BY i OFFSET 0) s, unnest(streams) stream" ;;
		pgmq_groups) sql "" "SELECT pgmq.create_fifo_index('q')" "SELECT count(*) FROM $all,
			pgmq.send_batch('q', array_fill(jsons[i], ARRAY[$2]), peers.headers(streams))" ;;
		graphile_worker) sql "" "SELECT count(*) FROM $all,
			graphile_worker.add_jobs(peers.specs(array_fill(texts[i], ARRAY[$2]), streams))" ;;
		pg_boss) sql "" "INSERT INTO pgboss.job (name, data, policy, singleton_key)
			SELECT 'fifo', jsons[i], 'key_strict_fifo', stream FROM $all, unnest(streams) stream ORDER BY i" ;;
	esac
	settle "$1" $(($2 * $3))
} >/dev/null

# settle CONTESTANT JOBS: all are there, and nobody else's writes are due
settle()
{
	expect "$(waiting "$1")" "$2" "$1: jobs that wait"
	sql "" "VACUUM ANALYZE" CHECKPOINT
}

expect()
{
	[ "$1" = "$2" ] || { echo "$3: $1 instead of $2" >&2; exit 1; }
}

# ---- driving pgbench ----

# of_pgbench FIELD: tps or transactions of the last run
of_pgbench()
{
	case $1 in
		tps) awk '/^tps/ { print $3 }' "$files/pgbench" ;;
		transactions) sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$files/pgbench" ;;
	esac
}

# enqueued CONTESTANT JOBS PGBENCH-OPTION...: run $files/statement, which puts
# so many jobs; jobs a second
enqueued()
{
	local contestant=$1 jobs=$2 found

	shift 2
	run_pgbench "$files/statement" "$@"
	found=$(waiting "$contestant")
	expect "$found" $(($(of_pgbench transactions) * jobs)) "$contestant: jobs put"
	awk -v tps="$(of_pgbench tps)" -v jobs="$jobs" 'BEGIN { print tps * jobs }'
}

# consumed CONTESTANT PGBENCH-OPTION...: run $files/statement, which removes
# jobs; how many a second, by those that are gone.  Some must be left: nobody
# has looked in vain because there was nothing.
consumed()
{
	local contestant=$1 before after

	shift
	before=$(waiting "$contestant")
	run_pgbench "$files/statement" "$@"
	after=$(waiting "$contestant")
	if [ "$after" -ge "$before" ] || [ "$after" = 0 ]; then
		echo "$contestant: $after of $before jobs are left" >&2
		exit 1
	fi
	awk -v tps="$(of_pgbench tps)" -v transactions="$(of_pgbench transactions)" -v jobs=$((before - after)) \
		'BEGIN { print tps * jobs / transactions }'
}

# ---- enqueue ----

# put_statement CONTESTANT STREAMS: that puts one job
put_statement()
{
	local job="job 4711 0a1bf96b7165e962e90cb14648c9462d" stream=

	[ "$2" = 1 ] || stream=1
	case $1${stream:+_streams} in
		spool*) sed "s/random(1, 100)/random(1, $2)/" "$bench/enqueue_single.sql" ;;
		insert*) sed "s/random(1, 100)/random(1, $2)/" "$bench/insert_single.sql" ;;
		table) echo "INSERT INTO peers.job (payload) VALUES ('$job');" ;;
		pgq) echo "SELECT pgq.insert_event('q', 'job', '$job');" ;;
		pgmq) echo "SELECT * FROM pgmq.send('q', '\"$job\"'::jsonb);" ;;
		pgmq_streams) echo "\\set stream random(1, $2)
			SELECT * FROM pgmq.send('q', '\"$job\"'::jsonb, jsonb_build_object('x-pgmq-group', :stream::int::text));" | unindent ;;
		graphile_worker) echo "SELECT graphile_worker.add_job('job', '\"$job\"'::json);" ;;
		graphile_worker_streams) echo "\\set stream random(1, $2)
			SELECT graphile_worker.add_job('job', '\"$job\"'::json, :stream::int::text);" | unindent ;;
		pg_boss) echo "INSERT INTO pgboss.job (name, data) VALUES ('q', '\"$job\"');" ;;
		pg_boss_streams) echo "\\set stream random(1, $2)
			INSERT INTO pgboss.job (name, data, policy, singleton_key)
			VALUES ('fifo', '\"$job\"', 'key_strict_fifo', :stream::int::text);" | unindent ;;
	esac >"$files/statement"
}

# 8 clients, one job in a transaction
enqueue_single_in()
{
	[ "$1" != spool ] || sql "" "SELECT spool.create_queue('single')" >/dev/null
	put_statement "$1" "$2"
	enqueued "$1" 1 -c 8 -j 2 -T "$seconds"
}

# One client, a job at a time, as its manual shows it.
write_fspl()
{
	local queue=$files/written started ended n

	rm -rf "$queue" "$queue.seq"
	fspl queue-init -q "$queue"
	started=$(date +%s%N)
	for ((n = 0; n < programs; n++)); do
		fspl prepare -s "$queue.seq" </dev/null | fspl queue-write -q "$queue"
	done
	ended=$(date +%s%N)
	expect "$(find "$queue/jobs" -type f | wc -l)" "$programs" "fspl: jobs put"
	awk -v n="$programs" -v ns=$((ended - started)) 'BEGIN { print n / ns * 1e9 }'
}

unindent() { sed 's/^[[:blank:]]*//'; }
enqueue_single()
{
	if [ "$1" = fspl ]; then
		write_fspl
	else
		enqueue_single_in "$1" 1
	fi
}
enqueue_streams() { enqueue_single_in "$1" 100; }

# put_batch CONTESTANT [SLICE]: a peer's statement that puts the batch, or a
# slice of it
put_batch()
{
	case $1 in
		table) echo "INSERT INTO peers.job (payload) SELECT t FROM peers.batch, unnest(texts${2:-}) t;" ;;
		pgq) echo "SELECT count(pgq.insert_event('q', 'job', t)) FROM peers.batch, unnest(texts${2:-}) t;" ;;
		pgmq) echo "SELECT count(*) FROM peers.batch, pgmq.send_batch('q', jsons${2:-});" ;;
		graphile_worker) echo "SELECT count(*) FROM peers.batch, graphile_worker.add_jobs(specs${2:-});" ;;
		pg_boss) echo "INSERT INTO pgboss.job (name, data) SELECT 'q', j FROM peers.batch, unnest(jsons${2:-}) j;" ;;
	esac
}

# 1,000 jobs in a transaction
enqueue_many()
{
	case $1 in
		spool)
			sql "" "SELECT spool.create_queue('many')" >/dev/null
			cat "$bench/enqueue_many.sql"
			;;
		insert) cat "$bench/insert_many.sql" ;;
		*) put_batch "$1" ;;
	esac >"$files/statement"
	enqueued "$1" 1000 -t "$batches"
}

# 1,000 jobs in a transaction, 10 in each of 100 streams
enqueue_many_streams()
{
	local each="generate_series(1, 100) n, peers.batch"
	local streams="ARRAY(SELECT (n % 100)::text FROM generate_series(1, 1000) n)"

	case $1 in
		spool)
			sql "" "SELECT spool.create_queue('many')" >/dev/null
			echo "SELECT count(spool.enqueue_many('many', texts[1:10], n::text)) FROM $each;"
			;;
		pgmq) echo "SELECT count(*) FROM peers.batch, pgmq.send_batch('q', jsons, peers.headers($streams));" ;;
		graphile_worker) echo "SELECT count(*) FROM peers.batch, graphile_worker.add_jobs(peers.specs(texts, $streams));" ;;
		pg_boss) echo "INSERT INTO pgboss.job (name, data, policy, singleton_key)
			SELECT 'fifo', j, 'key_strict_fifo', n::text FROM $each, unnest(jsons[1:10]) j;" ;;
	esac >"$files/statement"
	enqueued "$1" 1000 -t "$((batches / 4))"
}

# ---- the contract ----

# 1 if a job is not handed out while one is on its way that was put before it,
# else 0
commits()
{
	local before put

	[ "$1" != spool ] || sql "" "SELECT spool.create_queue('q')" >/dev/null
	put_statement "$1" 1
	sed -i "/^.set/d; s/:stream::int/1/; s/'single'/'q'/" "$files/statement"
	put="psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -d $base -f $files/put"
	mv "$files/statement" "$files/put"
	$put					# what only the first job does is done
	take_one "$1"
	expect "$(waiting "$1")" 0 "$1: jobs left"
	hold "" "$files/put"
	# producers may wait for each other: that keeps the order, too
	PGOPTIONS="$PGOPTIONS -c statement_timeout=1s" $put 2>/dev/null || true
	before=$(waiting "$1")
	take_one "$1"
	if [ "$(waiting "$1")" = "$before" ]; then
		echo 1
	else
		echo 0
	fi
	let_go
}

take_one()
{
	case $1 in
		graphile_worker) driver graphile_worker run 1 10 ;;
		pg_boss) driver pg_boss fetch q 1 1 10 ;;
		pgq) take_ticked ;;
		*)
			statement_of "$1" 1
			run_pgbench "$files/statement" -t 1
			;;
	esac >/dev/null
}

# ---- consume ----

# statement_of CONTESTANT JOBS: that removes so many
statement_of()
{
	case $1 in
		spool*) echo "SELECT * FROM spool.take('q', $2);" ;;
		insert) sed "s/LIMIT 1000/LIMIT $2/" "$bench/delete_many.sql" ;;
		table) echo "DELETE FROM peers.job WHERE id IN
			(SELECT id FROM peers.job ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING *;" ;;
		pgq) unindent <<-SQL ;;
			BEGIN;
			SELECT batch FROM pgq.next_batch('q', 'consumer') AS batch \\gset
			SELECT * FROM pgq.get_batch_events(:batch);
			SELECT pgq.finish_batch(:batch);
			END;
		SQL
		pgmq) echo "SELECT * FROM pgmq.pop('q', $2);" ;;
		pgmq_read) unindent <<-SQL ;;
			SELECT array_agg(msg_id) AS ids FROM pgmq.read('q', 300, $2) \\gset
			SELECT count(*) FROM pgmq.delete('q', :ids::int8[]);
		SQL
		pg_boss) cat "$files/fetch.sql" "$files/complete.sql" ;;
	esac >"$files/statement"
}

# 4 clients, one job in a transaction
consume_single()
{
	fill_jobs "$1" "$singles"
	take_singles "$1"
}

take_singles()
{
	if [ "$1" = graphile_worker ]; then
		driver graphile_worker run $((singles * 1000)) "$seconds"
	else
		statement_of "$1" 1
		consumed "$1" -c 4 -j 2 -T "$seconds"
	fi
}

consume_streams()
{
	fill_streams "$1" 100 $((singles * 10))
	statement_of "$1" 1
	consumed "$1" -c 4 -j 2 -T "$seconds"
}

# one client
consume_many()
{
	local jobs=$((batches * 1000)) thousands=$((batches + batches / 10))

	fill_jobs "$1" "$thousands" "$2"
	if [ "$1" = pg_boss ]; then
		driver pg_boss fetch q "$2" "$jobs" 60
	else
		statement_of "$1" "$2"
		consumed "$1" -t $((jobs / $2))
	fi
}
consume_100() { consume_many "$1" 100; }
consume_1000() { consume_many "$1" 1000; }

# consume_streams_many CONTESTANT STREAMS JOBS: in batches of 100, JOBS in each
# stream.  The peers look at all that waits: of pgmq at most 100 batches are
# read, and the others have at most 100 jobs in each.
consume_streams_many()
{
	local calls=$(($2 * $3 * 9 / 1000)) each=$3

	case $1 in
		graphile_worker | pg_boss) each=$((each < 100 ? each : 100)) ;;
	esac
	fill_streams "$1" "$2" "$each"
	case $1 in
		spool)
			statement_of spool 100
			consumed spool -t "$calls"
			;;
		pgmq_groups)
			unindent >"$files/statement" <<-SQL
				SELECT array_agg(msg_id) AS ids FROM pgmq.read_grouped_head('q', 300, 100) \\gset
				SELECT count(*) FROM pgmq.delete('q', :ids::int8[]);
			SQL
			consumed "$1" -t $((calls < 100 ? calls : 100))
			;;
		graphile_worker) driver graphile_worker run $(($2 * each)) $((seconds * 2)) queues ;;
		pg_boss) driver pg_boss fetch fifo 100 $(($2 * each)) $((seconds * 2)) ;;
	esac
}
streams_100() { consume_streams_many "$1" 100 $((wide / 10)); }
streams_10000() { consume_streams_many "$1" "$wide" 10; }

# ---- workers ----

worker()
{
	local each=$((handled * 10 < 1000 ? handled * 10 : 1000))

	case $1 in
		spool)
			queue q "set_handler('q', 'SELECT 1')"
			sql "" "CALL bench.fill('q', 1)" >/dev/null
			drain q 1 1000 >/dev/null
			sql "" "CALL bench.fill('q', $handled)" "VACUUM ANALYZE" CHECKPOINT >/dev/null
			drain q 1 $((handled * 1000))
			;;
		spool_streams)
			queue q "set_handler('q', 'SELECT 1')"
			fill q 100 10
			drain q 2 1000 >/dev/null
			fill q 100 "$each"
			drain q 2 $((100 * each))
			;;
		graphile_worker)
			fill_jobs "$1" "$handled"
			driver graphile_worker run $((handled * 1000)) 120 batched
			;;
		pg_boss)
			fill_jobs "$1" "$handled"
			driver pg_boss work $((handled * 1000)) 120
			;;
	esac
	expect "$(waiting "$1")" 0 "$1: jobs left"
}

# microseconds, median and 99th percentile
latency()
{
	case $1 in
		spool)
			quiet ""
			begin_jobs "" "$starts"
			;;
		*) PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" driver "$1" begin "$starts" ;;
	esac
}

# jobs that run /bin/true
program()
{
	case $1 in
		spool) process_true ;;
		fspl) fspl_true ;;
	esac
}

# ---- a backlog ----

# The databases stay: each contestant goes on with its own backlog.
in_backlog()
{
	local base=${base}_backlog_$1

	"${@:2}" "$1"
}
make_backlog()
{
	fresh
	fill_jobs "$1" "$many"
}
backlog() { in_backlog "$1" take_singles; }

# ---- bytes ----

# what the bytes of the log and dead rows cost: $wal thousand jobs in batches of
# 100, ten in each of ten streams; "insert" is the INSERT alone
write_ahead()
{
	local before after

	[ "$1" != spool ] || sql "" "SELECT spool.create_queue('q')" >/dev/null
	case $1 in
		spool) echo "SELECT count(spool.enqueue_many('q', texts[1:10], n::text)) FROM generate_series(1, 10) n, peers.batch;" ;;
		insert) echo "INSERT INTO bench.many SELECT stream, n, n, n, NULL, 0, packet FROM
			(SELECT i / 10 AS stream, nextval('bench.number') AS n, packets[i + 1] AS packet
				FROM bench.batch, generate_series(0, 99) i) numbered;" ;;
		*) put_batch "$1" "[1:100]" ;;
	esac >"$files/statement"
	sql "" CHECKPOINT
	before=$(bytes_and_dead)
	run_pgbench "$files/statement" -t $((wal * 10))
	case $1 in
		insert) ;;
		pgq) take_ticked ;;
		graphile_worker) driver graphile_worker run $((wal * 1000)) 60 batched >/dev/null ;;
		pg_boss) driver pg_boss fetch q 100 $((wal * 1000)) 60 >/dev/null ;;
		*)
			statement_of "$1" 100
			run_pgbench "$files/statement" -t $((wal * 10))
			;;
	esac
	after=$(bytes_and_dead)
	[ "$1" = insert ] || expect "$(waiting "$1")" 0 "$1: jobs left"
	awk -v before="$before" -v after="$after" -v jobs=$((wal * 1000)) 'BEGIN {
		split(before, b); split(after, a)
		print (a[1] - b[1]) / jobs, (a[2] - b[2]) / jobs
	}'
}

# All in one batch, as if a tick had come now.
take_ticked()
{
	sql "" "SELECT pgq.ticker('q')" >/dev/null
	statement_of pgq 0
	run_pgbench "$files/statement" -t 1
}

# Position of the log, and rows that were made dead until now; the sessions
# before have ended, and reported what they did.
bytes_and_dead()
{
	sql "" "SELECT concat_ws(' ', pg_current_wal_insert_lsn() - '0/0', sum(n_tup_upd + n_tup_del))
		FROM pg_stat_user_tables"
}

# ---- a held snapshot ----

# held CONTESTANT SNAPSHOT TURN: $held_rounds rounds of one-job takes, each in a
# session, with or without a snapshot that another holds; the rate of each goes
# to the results, the bytes on disk at the end are printed.  A peer that takes
# longer than $patience seconds does not end its rounds.
held()
{
	local contestant=$1 snapshot=$2 turn=$3 round spent=0 thousands=$((held_rounds * held_takes / 1000 + 1))

	fill_jobs "$contestant" "$thousands"
	statement_of "$contestant" 1
	[ "$snapshot" = no ] || hold ""
	for ((round = 1; round <= held_rounds; round++)); do
		PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" run_pgbench "$files/statement" -t "$held_takes"
		add "held_$snapshot" "$contestant" "$turn" "$(of_pgbench tps)" "$round"
		spent=$((spent + $(awk -v n="$held_takes" '/^tps/ { print int(n * 1000 / $3) }' "$files/pgbench")))
		[[ $contestant = spool* ]] || [ $spent -lt $((patience * 1000)) ] || break
	done
	[ "$round" -le "$held_rounds" ] || round=$held_rounds
	expect "$(waiting "$contestant")" $((thousands * 1000 - round * held_takes)) "$contestant: jobs left"
	sql "" "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname = '$(schema_of "$contestant")'"
	[ "$snapshot" = no ] || let_go
}

schema_of()
{
	case $1 in
		spool*) echo spool ;;
		table) echo peers ;;
		pg_boss) echo pgboss ;;
		*) echo "$1" ;;
	esac
}
