# bench/lib.sh: what bench/run and bench/peers/run share.  Databases and files
# are removed at the end, however it ends.
# shellcheck shell=bash

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=spool_bench_$$
databases=()
holder=
files=$(mktemp -d)
export PSQLRC=/dev/null PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning"
export PGAPPNAME=spool_bench

cleanup()
{
	local database

	[ -z "$holder" ] || kill "$holder" 2>/dev/null || true
	for database in "${databases[@]}"; do
		dropdb --if-exists --force "$database" || true
	done
	rm -rf "$files"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# sql DATABASE STATEMENT...: one session; the last line of the result
sql()
{
	local database=$1 statement args=()

	shift
	for statement; do
		args+=(-c "$statement")
	done
	psql -XAtq -v ON_ERROR_STOP=1 -d "$base$database" "${args[@]}" | tail -n 1
}

# database NAME [TEMPLATE]: make one with spool and bench/setup.sql
database()
{
	createdb ${2:+-T "$2"} "$base$1"
	databases+=("$base$1")
	psql -Xq -d "$base$1" -c "ALTER DATABASE $base$1 SET spool.programs = on"
	psql -Xq -v ON_ERROR_STOP=1 -d "$base$1" -f "$bench/setup.sql"
}

# run_pgbench FILE PGBENCH-OPTION...: leaves its report in $files/pgbench
run_pgbench()
{
	local file=$1

	shift
	if ! pgbench -n -M prepared -f "$file" "$@" "$base" >"$files/pgbench" 2>"$files/errors"; then
		cat "$files/errors" >&2
		exit 1
	fi
}

# script NAME FACTOR PGBENCH-OPTION...: transactions a second, times FACTOR
script()
{
	local name=$1 factor=$2

	shift 2
	run_pgbench "$bench/$name.sql" "$@"
	awk -v factor="$factor" '/^tps/ { print $3 * factor }' "$files/pgbench"
}

# hold DATABASE [FILE]: another session there holds a snapshot, and what the
# statements of the file did, until "let_go"
hold()
{
	: >"$files/holder"
	psql -XAtq -v ON_ERROR_STOP=1 -d "$base$1" -c "BEGIN ISOLATION LEVEL REPEATABLE READ" \
		${2:+-o /dev/null -f "$2" -c "\\o"} \
		-c "SELECT pg_backend_pid()" -c "SELECT pg_sleep(3600)" \
		>"$files/holder" 2>/dev/null &
	holder=$!
	until [ -s "$files/holder" ]; do
		kill -0 "$holder"
		sleep 0.1
	done
}

let_go()
{
	psql -XAtq -c "SELECT pg_terminate_backend($(head -n 1 "$files/holder"))" postgres >/dev/null
	wait "$holder" 2>/dev/null || true
	holder=
}

# fill_rows BATCHES: rows of the counterpart of the store, 1,000 in each
fill_rows()
{
	sql "" "INSERT INTO bench.waiting SELECT 1, n, n, n, NULL, 0, packet
		FROM (SELECT nextval('bench.number') AS n, packet
			FROM generate_series(1, $1), bench.batch, unnest(packets) AS packet) numbered" \
		"ANALYZE bench.waiting" CHECKPOINT >/dev/null
}

median()
{
	sort -g | awk '{ n[NR] = $1 } END { print n[int((NR + 1) / 2)] }'
}

asked()
{
	local name

	[ ${#wanted[@]} != 0 ] || return 0
	for name in "${wanted[@]}"; do
		[[ $1 != "$name"* ]] || return 0
	done
	return 1
}

process_true()
{
	sql "" "SELECT spool.create_queue('true', if_not_exists => true)" \
		"SELECT spool.set_program('true', '/bin/true')" \
		"SELECT spool.enqueue_many('true', payloads[1:$programs]) FROM bench.batch" >/dev/null
	psql -Xq -d "$base" <<-SQL | awk '/^Time:/ { ms = $2 } END { print n / ms * 1000 }' n="$programs"
		\\timing on
		CALL spool.process('true');
	SQL
}

# The queue is prepared once and copied for each measurement.
fspl_true()
{
	local started ended n

	if [ ! -d "$files/fspl" ]; then
		fspl queue-init -q "$files/fspl"
		for ((n = 0; n < programs; n++)); do
			fspl prepare -s "$files/seq" </dev/null | fspl queue-write -q "$files/fspl"
		done
	fi
	rm -rf "$files/queue"
	cp -a "$files/fspl" "$files/queue"
	started=$(date +%s%N)
	fspl -l ERROR queue-process -q "$files/queue" /bin/true
	ended=$(date +%s%N)
	awk -v n="$programs" -v ns=$((ended - started)) 'BEGIN { print n / ns * 1e9 }'
}

