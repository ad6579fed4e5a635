// What the drivers of graphile-worker and pg-boss share.

// microseconds since 1970, by a clock that does not jump
export const now = () => (performance.timeOrigin + performance.now()) * 1000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// jobs a second, from the first call of start() to the last job
export class Meter {
	constructor(jobs) {
		this.jobs = jobs;
		this.done = 0;
		this.finished = new Promise((resolve) => { this.finish = resolve; });
	}

	count(jobs = 1) {
		this.started ??= now();
		this.done += jobs;
		if (this.done >= this.jobs)
			this.end();
	}

	end() {
		this.result ??= this.done && this.done / (now() - this.started) * 1e6;
		this.finish();
	}

	// jobs a second, once all are done, or it has been ended, or after a time
	async rate(seconds) {
		const timer = setTimeout(() => this.end(), seconds * 1000);

		await this.finished;
		clearTimeout(timer);
		return this.result;
	}

	// the database must say the same
	check(jobs) {
		if (jobs !== this.done)
			throw new Error(`${this.done} jobs ran, ${jobs} are gone`);
	}
}

// median and 99th percentile
export function percentiles(values) {
	const sorted = values.toSorted((a, b) => a - b);

	return [0.5, 0.99].map((p) => Math.round(sorted[Math.ceil(p * sorted.length) - 1])).join(' ');
}
