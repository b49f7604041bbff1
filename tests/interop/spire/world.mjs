// Sidecars that run as users of their own, and callers that never pause.

import * as assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { Process, ask, file, folder, until } from '../oidc/world.mjs';

/** Every step of SPIRE takes some seconds, and with several worlds on few cores more. */
const PATIENCE = 120_000;
// Below those that the kernel gives to whoever calls: a server that comes back needs its own again.
const PORTS = 24_000;

// Sidecars of other users read here.
fs.chmodSync(folder, 0o755);

/** Binaries where all users can run them. */
export const BIN = file('bin');
// The second name of our own is a second path for selectors.
const PROGRAMS = {
    sidegate: process.env.SIDEGATE,
    'sidegate-b': process.env.SIDEGATE,
    ...Object.fromEntries(['spire-server', 'spire-agent', 'oidc-discovery-provider'].map((it) => [it, path.join(process.env.SPIRE, it)])),
};
fs.mkdirSync(BIN);
for (const [name, from] of Object.entries(PROGRAMS)) {
    fs.copyFileSync(from, program(name));
    fs.chmodSync(program(name), 0o755);
}

export function program(name) {
    return path.join(BIN, name);
}

let port = PORTS + Math.floor(Math.random() * 900);

/** Nobody's now, and given once: worlds start side by side. */
export async function freePort() {
    for (;;) {
        port = port >= PORTS + 999 ? PORTS : port + 1;
        const candidate = port;
        const server = net.createServer().listen(candidate, '127.0.0.1');
        const free = await once(server, 'listening').then(() => true, () => false);
        if (free) {
            server.close();
            await once(server, 'close');
            return String(candidate);
        }
    }
}

const exec = promisify(execFile);

/** Runs a program to its end; what it prints. */
export async function run(command, ...words) {
    const { stdout } = await exec(command, words, { cwd: folder }).catch((error) => {
        throw new Error(`${command} ${words.join(' ')}: ${error.stdout}${error.stderr}`);
    });
    return stdout;
}

/** The words that make a user of a command. */
export function user(uid, ...words) {
    return ['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', ...words];
}

const programs = [];

/** All that still runs, also what a failed test has left. */
export async function stopAll() {
    await Promise.all(programs.filter(({ child }) => child.exitCode === null).map((it) => it.stop()));
}

/** A process that is waited for with patience. */
export class Program extends Process {
    constructor(...how) {
        super(...how);
        programs.push(this);
    }

    async until(what, ask) {
        return until(`${this.name}: ${what}`, async () => {
            assert.equal(this.child.exitCode, null, `${this.name} has ended`);
            return ask().catch(() => false);
        }, PATIENCE).catch((cause) => {
            throw new Error(`${cause.message}\n${this.output.slice(-8000)}`);
        });
    }
}

// === Sidecars

const POLICY = `package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": [], "scopes": ["orders:read"], "tenant": "acme"} if input.peer.environment == "prod"
`;

/** Files that a user may read: keys belong to whoever uses them. */
function owned(name, uid, { chain, key }) {
    const [of, own] = [file(`${name}.pem`), file(`${name}.key`)];
    for (const [from, to] of [[chain, of], [key, own]]) {
        fs.copyFileSync(from, to);
        fs.chownSync(to, uid, uid);
    }
    return { chain: of, key: own };
}

const ROUTES = [{ path: '/orders/{id}', methods: ['GET'], scopes: ['orders:read'] }];

/** A sidecar, run as `uid`. */
export class Sidecar extends Program {
    static async start(name, uid, configuration, binary = 'sidegate') {
        const home = file(name);
        fs.mkdirSync(path.join(home, 'policy'), { recursive: true });
        fs.chownSync(home, uid, uid);
        fs.writeFileSync(path.join(home, 'policy', 'global.rego'), POLICY);
        const [health, metrics] = [await freePort(), await freePort()];
        const settings = path.join(home, 'sidegate.yaml');
        fs.writeFileSync(settings, JSON.stringify({
            tenant: 'acme',
            policy: path.join(home, 'policy'),
            health: { listen: `127.0.0.1:${health}` },
            metrics: { listen: `127.0.0.1:${metrics}` },
            admin: { listen: `unix:${home}/admin.sock` },
            audit: { to: path.join(home, 'audit.jsonl') },
            workers: 1,
            ...configuration,
        }));
        const [command, ...words] = user(uid, program(binary), 'run', '--config', settings);
        const it = new Sidecar(name, command, words);
        Object.assign(it, { uid, home, health: `http://127.0.0.1:${health}`, figures: `http://127.0.0.1:${metrics}/metrics` });
        await it.until('to live', async () => (await ask(`${it.health}/live`)).status === 200);
        return it;
    }

    async answers(probe) {
        const answer = await ask(`${this.health}/${probe}`);
        return { status: answer.status, ...answer.json() };
    }

    async ready() {
        await this.until('to be ready', async () => (await this.answers('ready')).status === 200);
    }

    /** Its agent's state, as its metrics tell. */
    async state(state) {
        await this.until(state, async () => await this.figure(`sidegate_agent_state{state="${state}"}`) === 1);
    }

    /** What `sidegate status` shows. */
    async status() {
        const words = ['status', '--admin', path.join(this.home, 'admin.sock')];
        return exec(program('sidegate'), words).then(({ stdout }) => stdout, ({ stdout }) => stdout);
    }

    async figure(series) {
        const { text } = await ask(this.figures);
        const line = text.split('\n').find((it) => it.startsWith(`${series} `));
        return line === undefined ? undefined : Number(line.slice(series.length));
    }

    async rotations() {
        return this.figure('sidegate_svid_rotations_total');
    }

    async rotated(count, since) {
        const target = (since ?? await this.rotations()) + count;
        await this.until(`${count} rotations`, async () => await this.rotations() >= target);
    }

    /** The audit lines so far. */
    lines() {
        const text = fs.readFileSync(path.join(this.home, 'audit.jsonl'), 'utf8');
        return text.split('\n').filter((line) => line.endsWith('}')).map((line) => JSON.parse(line));
    }

    async line(what, fits) {
        let found;
        await this.until(what, async () => {
            found = this.lines().find(fits);
            return found;
        });
        return found;
    }
}

/** The sidecar of a service; its callers connect to `address`. */
export async function service(name, uid, spire, app, configuration = {}, inbound = {}) {
    const port = await freePort();
    const it = await Sidecar.start(name, uid, {
        identity: { workload_api: `unix://${spire.workloadApi}`, ...configuration.identity },
        inbound: [{ name: 'web', listen: `127.0.0.1:${port}`, forward_to: app.address, routes: ROUTES, ...inbound,
            certificate: inbound.certificate && owned(name, uid, inbound.certificate) }],
        ...configuration.more,
    });
    it.address = `127.0.0.1:${port}`;
    return it;
}

/** The sidecar of an application that calls `to`, which has to be one of `expect`. */
export async function caller(name, uid, spire, to, expect, { identity = {}, binary } = {}) {
    const port = await freePort();
    const it = await Sidecar.start(name, uid, {
        identity: { workload_api: `unix://${spire.workloadApi}`, ...identity },
        outbound: [{ name: 'calls', listen: `127.0.0.1:${port}`, connect_to: to.address, expect }],
    }, binary);
    it.url = `http://127.0.0.1:${port}/orders/17`;
    return it;
}

/** A sidecar without an agent, which believes these issuers alone. */
export async function outside(name, uid, app, issuers, certificate) {
    const port = await freePort();
    const it = await Sidecar.start(name, uid, {
        jwt: { issuers: issuers.map((one) => ({ audience: 'orders', ...one })) },
        inbound: [{ name: 'web', listen: `127.0.0.1:${port}`, forward_to: app.address, routes: ROUTES, accept: ['jwt'],
            certificate: owned(name, uid, certificate) }],
    });
    it.address = `127.0.0.1:${port}`;
    return it;
}

/** A sidecar that calls by machine tokens alone. */
export async function bearer(name, uid, to, present, more = {}) {
    const port = await freePort();
    const it = await Sidecar.start(name, uid, {
        jwt: { present },
        outbound: [{ name: 'calls', listen: `127.0.0.1:${port}`, connect_to: to.address, authenticate_with: ['jwt'],
            server: { name: 'localhost', ca: file('web.pem') } }],
        ...more,
    });
    it.url = `http://127.0.0.1:${port}/orders/17`;
    return it;
}

// === Callers

/** Calls without pause: some on connections that stay, some each on one of its own. */
export class Load {
    #stopped = false;

    #loops;

    constructor(...urls) {
        this.calls = 0;
        this.failures = [];
        this.since = performance.now();
        this.#loops = urls.flatMap((url) => [true, true, false].map((keepAlive) => this.#loop(url, keepAlive)));
    }

    async #loop(url, keepAlive) {
        const agent = new http.Agent({ keepAlive, maxSockets: 1 });
        while (!this.#stopped) {
            const at = Date.now();
            const answer = await call(url, agent).catch((error) => ({ status: 0, text: String(error) }));
            this.calls += 1;
            if (answer.status !== 200) {
                this.failures.push({ at, url, ...answer });
            }
            await sleep(20);
        }
        agent.destroy();
    }

    /** No call has failed so far, and there were calls. */
    holds(when) {
        assert.ok(this.calls > 0, `${when}: nothing was called`);
        assert.deepEqual(this.failures.slice(0, 3), [], `${when}: ${this.failures.length} of ${this.calls} calls failed`);
    }

    /** How often which answer was had in place of the one that was asked for. */
    refusals() {
        const counts = {};
        for (const { status, text } of this.failures) {
            const what = `${status} ${text.match(/"error":"(\w+)"/)?.[1] ?? text}`;
            counts[what] = (counts[what] ?? 0) + 1;
        }
        return counts;
    }

    async stop() {
        this.#stopped = true;
        await Promise.all(this.#loops);
        const seconds = Math.round((performance.now() - this.since) / 1000);
        return `${this.calls} calls in ${seconds} s, ${this.failures.length} failed`;
    }
}

async function call(url, agent) {
    const request = http.get(url, { agent, timeout: PATIENCE });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    const [response] = await once(request, 'response');
    const text = (await response.setEncoding('utf8').toArray()).join('');
    return { status: response.statusCode, text };
}
