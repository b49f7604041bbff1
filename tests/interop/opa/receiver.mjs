// A collector that reads events and reports with the types of OPA: `receiver/main.go`, as a process.

import { Process, file, freePort, until } from '../oidc/world.mjs';

export class Receiver {
    #process;

    static async start(certificate, ca) {
        const it = new Receiver();
        it.ca = ca;
        it.port = await freePort();
        const words = [`127.0.0.1:${it.port}`, certificate.chain, certificate.key];
        it.#process = new Process('receiver', process.env.RECEIVER, words);
        return it;
    }

    /** Keys of a sidecar that tells everything to it. */
    keys(name) {
        const to = (path) => ({ url: `https://localhost:${this.port}/${path}`, ca: this.ca, labels: [`by=${name}`] });
        return { decision_log: { ...to('logs'), every: '1s' }, status: { ...to('status'), every: '1h' } };
    }

    #lines() {
        return this.#process.output.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    }

    /** Why something was not taken. */
    refused() {
        return this.#lines().flatMap((line) => line.refused ?? []);
    }

    events(name) {
        return this.#lines().flatMap((line) => line.event ?? []).filter(({ labels }) => labels.by === name);
    }

    reports(name) {
        return this.#lines().flatMap((line) => line.status ?? []).filter(({ labels }) => labels.by === name);
    }

    /** The first report in which this holds. */
    async report(name, what, holds) {
        return until(what, async () => this.reports(name).find(holds));
    }

    async stop() {
        await this.#process.stop();
    }
}
