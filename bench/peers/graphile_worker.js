// graphile_worker.js setup | run JOBS SECONDS [batched | queues] | begin JOBS
//
// setup: makes the schema.  run: an empty task for JOBS waiting jobs, or what
// SECONDS allow; prints jobs a second.  batched: with the settings that the
// documentation gives for throughput; queues: for jobs in named queues, of which
// a batch has one each.  begin: adds jobs one at a time and
// prints microseconds from add_job to the start of the task: median and 99th
// percentile.  The database is that of the environment.
import { Logger, run, runMigrations } from 'graphile-worker';
import pg from 'pg';
import { Meter, now, percentiles, sleep } from './common.js';

const logger = new Logger(() => (level, message) => {
	if (level === 'error' || level === 'warning')
		console.error(message);
});
const throughput = {
	concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 },
	completeJobBatchDelay: 0, failJobBatchDelay: 0,
};
const settings = { single: { concurrentJobs: 4 }, batched: throughput, queues: { concurrentJobs: 24, maxPoolSize: 25 } };
const [mode, jobs, seconds, kind = 'single'] = process.argv.slice(2);
const pgPool = new pg.Pool({ max: 25 });
const fail = (error) => { throw error; };

pgPool.on('error', fail);
pgPool.on('connect', (client) => client.on('error', fail));

const start = (worker, task) => run({
	pgPool, logger, noHandleSignals: true, taskList: { job: task },
	preset: { worker: { logger, ...worker } },
});

async function waiting() {
	const { rows } = await pgPool.query('SELECT count(*)::int AS jobs FROM graphile_worker.jobs');

	return rows[0].jobs;
}

async function runJobs() {
	const before = await waiting();
	const meter = new Meter(Number(jobs));
	const runner = await start(settings[kind], () => { meter.count(); });
	const rate = await meter.rate(Number(seconds));

	await runner.stop();
	// the worker does not wait for the last completions
	for (let tries = 0; tries < 100 && before - await waiting() < meter.done; tries++)
		await sleep(100);
	meter.check(before - await waiting());
	return rate;
}

async function begin() {
	const times = [];
	const runner = await start({}, (payload) => { times.push(now() - payload.at); });

	for (let n = 0; n < Number(jobs) + 10; n++) {
		await sleep(20);
		await pgPool.query("SELECT graphile_worker.add_job('job', json_build_object('at', extract(epoch FROM clock_timestamp()) * 1e6))");
	}
	await sleep(1000);
	await runner.stop();
	if (times.length !== Number(jobs) + 10)
		throw new Error(`${times.length} of ${jobs} jobs began`);
	return percentiles(times.slice(10));
}

if (mode === 'setup')
	await runMigrations({ pgPool, logger });
else
	console.log(await (mode === 'run' ? runJobs() : begin()));
await pgPool.end();
