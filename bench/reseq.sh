# bench/reseq.sh: the figures of the resequencer; read by bench/run.
# shellcheck shell=bash

# Numbers that rise from one measurement to the next.
numbers() { echo $(($(date +%s%N) / 1000)); }

reseq_pair() { script reseq_pair 1 -c 8 -j 2 -T "$seconds" -D "sn=$(numbers)"; }
upsert_pair() { script upsert_pair 1 -c 8 -j 2 -T "$seconds" -D "sn=$(numbers)"; }
reseq_new() { script reseq_new 1 -c 8 -j 2 -T "$seconds" -D "sn=$(numbers)"; }
insert_new() { script insert_new 1 -c 8 -j 2 -T "$seconds" -D "sn=$(numbers)"; }
reseq_many() { script reseq_many 1000 -t "$batches" -D "sn=$(numbers)"; }
upsert_many() { script upsert_many 1000 -t "$batches" -D "sn=$(numbers)"; }

without_disk() { PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" "$@"; }
reseq_pair_async() { without_disk reseq_pair; }
upsert_pair_async() { without_disk upsert_pair; }

# All 100,000 keys are known before.
make_keys()
{
	psql -Xq -v ON_ERROR_STOP=1 -d "$base" -f "$here/reseq.sql"
	sql "" "SELECT spool.create_resequencer(name) FROM unnest('{pair,many,new}'::text[]) name" \
		"CALL bench.finish('pair', 100)" "CALL bench.finish('many', 100)" \
		"INSERT INTO bench.record SELECT key, 1, 1 FROM bench.keys, unnest(keys) key" \
		VACUUM ANALYZE CHECKPOINT >/dev/null
}

# What was measured were passes: nothing was suppressed, nothing is left.
check_passes()
{
	local others

	others=$(sql "" "SELECT count(*) FROM (SELECT DISTINCT ON (key, target) live, suppressed
		FROM spool.reseq_lane ORDER BY key, target, version DESC) l WHERE live + suppressed > 0")
	[ "$others" = 0 ] || { echo "$0: $others keys did not pass" >&2; exit 1; }
}

# A key that is updated all the time while another session holds a snapshot:
# the last five of twenty rounds beside the first five, a new key each time.
reseq_hot()
{
	local turn

	: >"$files/a"
	: >"$files/b"
	database _hot
	psql -Xq -v ON_ERROR_STOP=1 -d "${base}_hot" -f "$here/reseq.sql"
	sql _hot "SELECT spool.create_resequencer('hot')" \
		"SET synchronous_commit = off" "CALL bench.hot('hot', 'first', 50)" CHECKPOINT >/dev/null
	for ((turn = 0; turn < times; turn++)); do
		hold _hot
		sql _hot "SET synchronous_commit = off" "CALL bench.hot('hot', 'key $turn', $((hot / 20)))" >"$files/hot"
		cut -d '|' -f 1 "$files/hot" >>"$files/a"
		cut -d '|' -f 2 "$files/hot" >>"$files/b"
		let_go
	done
	line "hot key, held snapshot, rounds 16-20 vs 1-5" 0.85
}

# maintain DATABASE: until nothing changes any more; segments are emptied some
# time after what they held was moved or is over.
maintain()
{
	local bytes before=0 calm=0

	while [ "$calm" -lt 8 ]; do
		bytes=$(sql "$1" "CALL spool.maintain()" "VACUUM spool.reseq_key, spool.reseq_promotable, spool.lane_0, spool.delivery_0" \
			"SELECT bench.reseq_bytes()")
		calm=$((bytes == before ? calm + 1 : 0))
		before=$bytes
		sleep 10
	done
	echo "$bytes"
}

# Keys that are finished: what is kept of them, and after their retention.
reseq_million()
{
	database _million
	psql -Xq -v ON_ERROR_STOP=1 -d "${base}_million" -f "$here/reseq.sql"
	sql _million "SELECT spool.create_resequencer('million')" \
		"SET synchronous_commit = off" "CALL bench.finish('million', $many)" >/dev/null
	sql _million "SELECT bench.reseq_bytes()" >"$files/a"
	sql _million "SELECT bench.tombstone_bytes()" >"$files/b"
	line "bytes, ${many},000 finished keys vs tombstones" -
	maintain _million >"$files/a"
	line "bytes, after maintain vs tombstones" 1.50 most
	sql _million "SELECT spool.alter_resequencer('million', retention => '1 ms')" >/dev/null
	maintain _million >"$files/a"
	line "bytes, after retention, free index pages" -
	sql _million "SELECT bench.reseq_bytes(false)" >"$files/a"
	line "bytes, after retention, tables vs tombstones" 0.01 most
}

# What registering and asking cost a record beside a bare INSERT: R88.
figures_of_reseq()
{
	if asked reseq_pair || asked reseq_many; then
		make_keys
		! asked reseq_many || compare "register, resequence of 1,000 vs 2 upserts" 0.50 reseq_many upsert_many
		if asked reseq_pair; then
			compare "register, resequence, 8 clients vs 2 upserts" 0.50 reseq_pair upsert_pair
			compare "the same, synchronous_commit = off" - reseq_pair_async upsert_pair_async
			compare "register, resequence, new keys vs INSERT" - reseq_new insert_new
		fi
		check_passes
	fi
	! asked reseq_hot || reseq_hot
	! asked_for reseq_million || reseq_million
}
