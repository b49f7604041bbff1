// HTTP/1.1: a corpus of requests that two readers could take for different ones, with nginx, HAProxy and
// Node behind the inbound listener. What we judged and what arrives has to be the same, at each of them.

import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as path from 'node:path';
import * as tls from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';

import { cases } from './http1-corpus.mjs';
import { file, freePort, inbound, listening, server, sidecar, svid } from './world.mjs';

/** By outcome, which cases have it; under `at nginx` and the like, where a judge itself answers otherwise. */
const EXPECTED = path.join(import.meta.dirname, 'http1-expected.json');
/** Set it to write what came of the cases, for people to judge, in place of comparing. */
const { SIDEGATE_BLESS: BLESS } = process.env;
const FIRST = 1000;
const AT_ONCE = 24;
/** For what is expected. */
const PATIENCE = 10_000;
/** In which nothing more may come. */
const QUIET = BLESS ? 2_000 : 200;

const JUDGES = ['node', 'nginx', 'haproxy'];

/** What arrived, by judge and case. */
const arrived = new Map();

/** The same in order, for the comparison with what was judged. */
const reached = [];

/** The application: keeps what it was asked. */
async function recorder(judge) {
    const keep = (request, body) => {
        const n = /[tx](\d{4})/.exec(request.url)?.[1] ?? request.headers['x-case'] ?? 'unknown';
        const key = `${judge} ${n}`;
        const said = [request.method, request.url.replaceAll(n, '#'), body].filter(Boolean).join(' ');
        arrived.set(key, [...(arrived.get(key) ?? []), said]);
        reached.push({ judge, n, method: request.method, path: request.url.split('?')[0] });
    };
    const application = http.createServer({ maxHeaderSize: 2 ** 20 }, (request, response) => {
        const pieces = [];
        request.on('data', (piece) => pieces.push(piece));
        request.on('end', () => {
            keep(request, Buffer.concat(pieces).toString('latin1').replaceAll(/\d{4}/g, '#'));
            response.setHeader('x-reached', judge);
            response.end('reached');
        });
        request.on('error', () => {});
    });
    // A connection that ends by itself while a request is on its way is another matter.
    application.keepAliveTimeout = 600_000;
    application.listen(0, '127.0.0.1');
    await once(application, 'listening');
    return application;
}

const NGINX = (port, behind) => `
daemon off; worker_processes 1; pid ${file('nginx.pid')}; error_log ${file('nginx.error.log')};
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 0; merge_slashes off; large_client_header_buffers 8 128k;
  client_body_temp_path ${file('nginx-1')}; proxy_temp_path ${file('nginx-2')};
  fastcgi_temp_path ${file('nginx-3')}; uwsgi_temp_path ${file('nginx-4')}; scgi_temp_path ${file('nginx-5')};
  server { listen 127.0.0.1:${port}; location / {
    proxy_pass http://127.0.0.1:${behind}; proxy_http_version 1.1;
    proxy_set_header Host $http_host; proxy_set_header Connection ""; } keepalive_timeout 600s; }
}`;

const HAPROXY = (port, behind) => `
global
  maxconn 1000
  tune.bufsize 262144
  tune.http.maxhdr 2000
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  server one 127.0.0.1:${behind}
`;

const CONFIGURED = {
    nginx: [NGINX, (name) => ['nginx', '-c', name, '-e', file('nginx.error.log')]],
    haproxy: [HAPROXY, (name) => ['haproxy', '-db', '-f', name]],
};

/** The port of a judge that passes on to its recorder what it understood. */
async function judge(name) {
    const application = await recorder(name);
    const behind = application.address().port;
    if (name === 'node') {
        return behind;
    }
    const port = await freePort();
    const [configuration, words] = CONFIGURED[name];
    fs.writeFileSync(file(`${name}.conf`), configuration(port, behind));
    const [command, ...rest] = words(file(`${name}.conf`));
    server(name, command, rest);
    await listening(port);
    return port;
}

export async function measure() {
    const ports = {};
    const listeners = [];
    for (const name of JUDGES) {
        ports[name] = await freePort();
        listeners.push(inbound(ports[name], await judge(name), { name }));
    }
    const judging = await sidecar('server', { inbound: listeners });
    const identity = await svid('client');
    const work = [...cases].flatMap(([id, raw], at) => JUDGES.map((name) => ({ id, raw, n: FIRST + at, name })));
    const expected = BLESS ? new Map() : read();
    const outcomes = new Map();
    const worker = async () => {
        for (let it = work.pop(); it; it = work.pop()) {
            const key = `${it.name} ${it.id}`;
            outcomes.set(key, await tried(it, ports[it.name], identity, expected.get(key)));
        }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (BLESS) {
        write(outcomes);
    }
    const unjudged = await neverJudged(judging);
    return JUDGES.map((name) => ({
        against: `inbound, ${name} behind`,
        cases: [...cases.keys()].map((id, at) => {
            const outcome = outcomes.get(`${name} ${id}`);
            const differs = !BLESS && outcome !== expected.get(`${name} ${id}`) && outcome;
            return { id, why: unjudged.get(`${name} ${FIRST + at}`) ?? (differs || undefined) };
        }),
    }));
}

/** What arrived that no audit line has let in just so: another meaning than was judged. */
async function neverJudged(judging) {
    const allowed = new Map();
    for (const line of judging.audit().trim().split('\n').map((it) => JSON.parse(it))) {
        if (line.decision === 'allow') {
            const key = `${line.listener} ${line.method} ${line.path}`;
            allowed.set(key, (allowed.get(key) ?? 0) + 1);
        }
    }
    const found = new Map();
    for (const { judge: name, n, method, path: target } of reached) {
        const key = `${name} ${method} ${target}`;
        const left = allowed.get(key) ?? 0;
        allowed.set(key, left - 1);
        if (left <= 0) {
            found.set(`${name} ${n}`, `${method} ${target} arrived, and was never judged`);
        }
    }
    return found;
}

/** What is expected of each case, by judge and case. */
function read() {
    const groups = JSON.parse(fs.readFileSync(EXPECTED, 'utf8'));
    const expected = new Map();
    for (const [outcome, ids] of Object.entries(groups)) {
        for (const id of ids) {
            const [, name, rest] = /^(?:at (\w+): )?(.*)$/s.exec(id);
            (name ? [name] : JUDGES).forEach((it) => expected.set(`${it} ${rest}`, outcome));
        }
    }
    return expected;
}

function write(outcomes) {
    const groups = {};
    const put = (outcome, id) => (groups[outcome] ??= []).push(id);
    for (const id of cases.keys()) {
        const all = JUDGES.map((name) => outcomes.get(`${name} ${id}`));
        if (all.every((it) => it === all[0])) {
            put(all[0], id);
        } else {
            JUDGES.forEach((name, at) => put(all[at], `at ${name}: ${id}`));
        }
    }
    fs.writeFileSync(EXPECTED, `${JSON.stringify(groups, undefined, 4)}\n`);
}

/** Sends a request and says what came of it: what arrived, and how the rest was answered. */
async function tried({ raw, n, name }, port, identity, expected) {
    const socket = tls.connect({
        port, host: '127.0.0.1', ...identity, ALPNProtocols: ['http/1.1'], checkServerIdentity: () => undefined,
    });
    let said = '';
    let closed = false;
    socket.setEncoding('latin1').on('data', (text) => {
        said += text;
    });
    socket.on('error', () => {}).on('close', () => { closed = true; });
    await once(socket, 'secureConnect');
    const outcome = () => told(said, arrived.get(`${name} ${n}`) ?? [], name);
    socket.write(Buffer.from(raw.replaceAll('{n}', n), /[^\0-\xff]/.test(raw) ? 'utf8' : 'latin1'));
    const end = performance.now() + PATIENCE;
    while (!closed && performance.now() < end && outcome() !== expected && !BLESS) {
        await sleep(10);
    }
    await sleep(QUIET);
    socket.destroy();
    return outcome();
}

function told(said, there, name) {
    // Answers of the recorder belong to what arrived. Those of the other judges are pages.
    const answers = [...said.matchAll(/HTTP\/1\.[01] (\d{3})[^]*?\r\n\r\n/g)]
        .filter(([text]) => !/x-reached/.test(text))
        .map(([text, status]) => (/^content-type: text\/html/mi.test(text) ? `${name} ` : '') + status);
    return [...there, ...answers].join(' + ').replaceAll('\r\n', '~') || 'nothing';
}
