// pg_boss.js setup | statements DIRECTORY | work JOBS SECONDS |
//	fetch QUEUE BATCH JOBS SECONDS | begin JOBS
//
// setup: makes the schema, and queues "q" and "fifo".  statements: the
// statements by which pg-boss fetches and completes one job, as its database
// adapter receives them, for pgbench.  work: a worker with an empty handler for
// JOBS waiting jobs, or what SECONDS allow; prints jobs a second.  fetch: the
// same by fetch and complete, BATCH at a time.  begin: sends jobs one at a time
// and prints microseconds from the start of their transaction to that of the
// handler: median and 99th percentile.  The database is that of the environment.
import { writeFileSync } from 'node:fs';
import pg from 'pg';
import { PgBoss } from 'pg-boss';
import { Meter, now, percentiles, sleep } from './common.js';

const [mode, ...args] = process.argv.slice(2);
const pool = new pg.Pool({ max: 10 });
let log = [];

async function open(options = {}) {
	const boss = new PgBoss(options);

	boss.on('error', (error) => { throw error; });
	await boss.start();
	return boss;
}

async function completed() {
	const { rows } = await pool.query("SELECT count(*)::int AS jobs FROM pgboss.job WHERE state = 'completed'");

	return rows[0].jobs;
}

const close = (boss) => boss.stop({ graceful: true, timeout: 30000 });

async function setup() {
	const boss = await open();

	await boss.createQueue('q', { notify: true });
	await boss.createQueue('fifo', { policy: 'key_strict_fifo' });
	await close(boss);
}

async function statements(directory) {
	const executeSql = (text, values) => {
		log.push(text);
		return pool.query(text, values);
	};
	const boss = await open({ db: { executeSql }, supervise: false, schedule: false });

	await boss.send('q', { job: 1 });
	log = [];
	const [job] = await boss.fetch('q');
	await boss.complete('q', job.id);
	const [fetched, completed] = log.filter((text) => /UPDATE/.test(text));
	writeFileSync(`${directory}/fetch.sql`, `${fetched} \\gset\n`);
	writeFileSync(`${directory}/complete.sql`,
		completed.replaceAll('$1', "'q'").replaceAll('$2', 'ARRAY[:id]').replaceAll('$3', 'NULL') + ';\n');
	await boss.deleteJob('q', job.id);
	await close(boss);
}

async function work(jobs, seconds) {
	const boss = await open();
	const meter = new Meter(Number(jobs));

	await boss.work('q', { batchSize: 1000, burstWhenBatchFull: true, localConcurrency: 2 },
		async (batch) => { meter.count(batch.length); });
	const rate = await meter.rate(Number(seconds));
	await close(boss);
	meter.check(await completed());
	return rate;
}

async function fetch(queue, batchSize, jobs, seconds) {
	const boss = await open();
	const meter = new Meter(Number(jobs));
	const done = await completed();
	const until = now() + Number(seconds) * 1e6;

	meter.count(0);
	while (meter.done < meter.jobs && now() < until) {
		const batch = await boss.fetch(queue, { batchSize: Number(batchSize) });
		if (batch.length === 0)
			throw new Error(`no job after ${meter.done}`);
		await boss.complete(queue, batch.map((job) => job.id));
		meter.count(batch.length);
	}
	meter.end();
	await close(boss);
	meter.check(await completed() - done);
	return meter.rate(0);
}

async function begin(jobs) {
	const boss = await open({ useListenNotify: true });
	const begun = new Map();

	await boss.work('q', {}, async ([job]) => { begun.set(job.id, now()); });
	for (let n = 0; n < Number(jobs) + 10; n++) {
		await sleep(20);
		await boss.send('q', { job: n });
	}
	await sleep(1000);
	const { rows } = await pool.query(
		"SELECT id, extract(epoch FROM created_on) * 1e6 AS at FROM pgboss.job WHERE name = 'q' ORDER BY created_on OFFSET 10");
	await close(boss);
	return percentiles(rows.map(({ id, at }) => {
		if (!begun.has(id))
			throw new Error(`job ${id} did not begin`);
		return begun.get(id) - at;
	}));
}

const result = await { setup, statements, work, fetch, begin }[mode](...args);
if (result !== undefined)
	console.log(result);
await pool.end();
