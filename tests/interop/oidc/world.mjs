// What the suite is played on: certificates, the provider, an application, sidecars. Everything is
// a real process or socket in a private folder, and all that is said anywhere is kept.

import { execFileSync, spawn } from 'node:child_process';
import * as crypto from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PATIENCE = 30_000;
const BINARY = process.env.SIDEGATE ?? 'sidegate';

/** A private folder. */
export const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sidegate-interop-'));

export function file(name) {
    return path.join(folder, name);
}

/** A file that only we may read, and that nobody ever sees half written. */
export function write(name, text) {
    fs.writeFileSync(file(`${name}.new`), text, { mode: 0o600 });
    fs.renameSync(file(`${name}.new`), file(name));
    return file(name);
}

/** Asks until there is an answer. */
export async function until(what, ask, patience = PATIENCE) {
    const end = performance.now() + patience;
    for (;;) {
        const answer = await ask();
        if (answer) {
            return answer;
        }
        if (performance.now() > end) {
            throw new Error(`waited too long for ${what}`);
        }
        await sleep(50);
    }
}

export async function freePort() {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}

// === Certificates

const OPENSSL = `[req]
distinguished_name = name
prompt = no
[name]
CN = throw-away
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
`;

function openssl(...words) {
    execFileSync('openssl', words, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** An authority that vouches for nobody yet. */
export function authority(name) {
    write('openssl.cnf', OPENSSL);
    openssl('req', '-x509', '-config', 'openssl.cnf', '-extensions', 'authority', ...NEW_KEY,
        '-days', '1', '-keyout', `${name}.key`, '-out', `${name}.pem`);
    return file(`${name}.pem`);
}

/** A certificate for a server of this DNS name. */
export function certificate(by, name) {
    write(`${name}.cnf`, `${OPENSSL}subjectAltName = DNS:${name}\n`);
    openssl('req', '-new', '-config', `${name}.cnf`, ...NEW_KEY, '-keyout', `${name}.key`,
        '-out', `${name}.csr`);
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${by}.pem`, '-CAkey', `${by}.key`,
        '-set_serial', `0x${crypto.randomBytes(8).toString('hex').replace(/^./, '1')}`, '-days', '1',
        '-extfile', `${name}.cnf`, '-extensions', 'server', '-out', `${name}.pem`);
    fs.chmodSync(file(`${name}.key`), 0o600);
    return { chain: file(`${name}.pem`), key: file(`${name}.key`) };
}

// === Requests

/** One request on a connection of its own. What comes back is kept in `answers`. */
export async function ask(url, { method = 'GET', headers = {}, body, ca, servername } = {}) {
    const started = performance.now();
    const secure = url.startsWith('https:');
    const request = (secure ? https : http).request(url, {
        method, headers, servername, agent: false,
        ca: ca && fs.readFileSync(ca), timeout: PATIENCE,
    });
    request.on('timeout', () => request.destroy(new Error(`no answer from ${url}`)));
    request.end(body);
    const [response] = await once(request, 'response');
    const text = (await response.setEncoding('utf8').toArray()).join('');
    const { statusCode: status } = response;
    const took = performance.now() - started;
    return { status, headers: response.headers, text, took, json: () => JSON.parse(text) };
}

/** The application behind the sidecar: tells its caller what it was asked. */
export async function application() {
    const it = { reached: 0 };
    const server = http.createServer((request, response) => {
        it.reached += 1;
        request.resume();
        response.end(JSON.stringify({ headers: request.headers }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    it.address = `127.0.0.1:${server.address().port}`;
    it.close = () => server.close();
    return it;
}

// === Processes

/** A process whose output is kept. */
export class Process {
    constructor(name, command, words, options = {}) {
        this.name = name;
        this.output = '';
        this.child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
        this.over = once(this.child, 'close');
        for (const stream of [this.child.stdout, this.child.stderr]) {
            stream.setEncoding('utf8').on('data', (text) => {
                this.output += text;
            });
        }
    }

    async until(what, ask) {
        return until(`${this.name}: ${what}`, async () => {
            if (this.child.exitCode !== null) {
                throw new Error(`${this.name} has ended:\n${this.output}`);
            }
            return ask().catch(() => false);
        });
    }

    async stop(signal = 'SIGTERM') {
        const late = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE);
        this.child.kill(signal);
        await this.over;
        clearTimeout(late);
        write(`${this.name}.log`, this.output);
    }
}

/** The OpenID provider. It may be stopped and begun again in the same place, with new keys. */
export class Provider {
    #process;

    #before = [];

    constructor(settings, ca) {
        this.settings = settings;
        this.ca = ca;
        this.issuer = `https://localhost:${settings.port}`;
    }

    async start() {
        const script = path.join(import.meta.dirname, 'provider.mjs');
        const settings = write('provider.json', JSON.stringify(this.settings));
        this.#process = new Process('provider', process.execPath, [script, settings]);
        await this.#process.until('to listen', async () => this.#process.output.includes('listening'));
    }

    /** At once, without a goodbye to anybody. */
    async stop() {
        this.#before = await this.issued().catch(() => this.#before);
        await this.#process?.stop('SIGKILL');
    }

    async control(order = {}) {
        const { ca } = this;
        const answer = await ask(`${this.issuer}/control`, { method: 'POST', body: JSON.stringify(order), ca });
        return answer.json();
    }

    /** What it has issued so far, to everybody. */
    async issued() {
        return [...this.#before, ...(await this.control()).issued];
    }

    /** A token, got as a client of ours that has nothing to do with Sidegate gets it. */
    async token(id, { scope = 'billing:read', resource, headers = {} } = {}) {
        const { secret } = this.settings.clients.find((client) => client.id === id);
        const name = [id, secret].map(encodeURIComponent).join(':');
        const form = new URLSearchParams({ grant_type: 'client_credentials', scope });
        if (resource) {
            form.set('resource', resource);
        }
        const answer = await ask(`${this.issuer}/token`, {
            method: 'POST',
            headers: {
                ...headers,
                authorization: `Basic ${Buffer.from(name).toString('base64')}`,
                'content-type': 'application/x-www-form-urlencoded',
            },
            body: form.toString(),
            ca: this.ca,
        });
        if (answer.status !== 200) {
            throw new Error(`no token for ${id}: ${answer.text}`);
        }
        return answer.json().access_token;
    }
}

/** A sidecar as an operator runs it. */
export class Sidecar extends Process {
    static async start(name, configuration, { ready = true } = {}) {
        const [health, metrics] = [await freePort(), await freePort()];
        const policy = file(`${name}-policy`);
        fs.mkdirSync(policy);
        fs.writeFileSync(path.join(policy, 'global.rego'), POLICY);
        const text = JSON.stringify({
            tenant: 'acme',
            policy,
            health: { listen: `127.0.0.1:${health}` },
            metrics: { listen: `127.0.0.1:${metrics}` },
            audit: { to: file(`${name}.audit.jsonl`) },
            log: { level: 'trace', format: 'json' },
            workers: 1,
            ...configuration,
        });
        const settings = write(`${name}.yaml`, text);
        const sidecar = new Sidecar(name, BINARY, ['run', '--config', settings]);
        sidecar.health = `http://127.0.0.1:${health}`;
        sidecar.figures = `http://127.0.0.1:${metrics}/metrics`;
        const probe = ready ? '/ready' : '/live';
        try {
            await sidecar.until(probe, async () => (await ask(sidecar.health + probe)).status === 200);
        } catch (cause) {
            await sidecar.stop();
            throw new Error(`${name} did not come up:\n${sidecar.output}`, { cause });
        }
        return sidecar;
    }

    /** The audit line of a request. */
    async line(requestId) {
        const find = () => this.audit().split('\n').find((line) => line.includes(`"${requestId}"`));
        return JSON.parse(await until(`the audit line of ${requestId}`, async () => find()));
    }

    audit() {
        return fs.readFileSync(file(`${this.name}.audit.jsonl`), 'utf8');
    }

    async readiness() {
        return (await ask(`${this.health}/ready`)).json();
    }

    async metrics() {
        return (await ask(this.figures)).text;
    }

    /** The value of one series. */
    async figure(series) {
        const line = (await this.metrics()).split('\n').find((it) => it.startsWith(`${series} `));
        return line === undefined ? undefined : Number(line.slice(series.length));
    }
}

// Nobody has rights by an SVID here: whatever is allowed is allowed by token.
const POLICY = `package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}
`;
