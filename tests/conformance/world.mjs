// What the suites are played on: the development agent, two sidecars, whatever application a suite
// puts behind them, and an identity for tools that speak TLS themselves.

import { spawn } from 'node:child_process';
import * as crypto from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http2 from 'node:http2';
import * as net from 'node:net';
import * as path from 'node:path';
import * as tls from 'node:tls';

import { Process, Sidecar, file, freePort, until } from '../interop/oidc/world.mjs';

export { file, freePort, until };

const BINARY = process.env.SIDEGATE ?? 'sidegate';
const DOMAIN = 'spiffe://example.org';

/** May do everything, as the protocols are what is tried here. */
const POLICY = `package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": ["all:use"], "tenant": "acme"}
`;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

const EVERYTHING = ['/', '/**'].map((path) => ({ path, methods: METHODS, scopes: ['all:use'] }));

const running = [];

/** The development agent, with a socket for each name. */
export async function agent(names) {
    const words = names.flatMap((name) => ['--workload', `${DOMAIN}/prod/${name}=${file(`${name}.sock`)}`]);
    const it = new Process('agent', BINARY, ['dev-agent', ...words]);
    running.push(it);
    await it.until('its sockets', async () => names.every((name) => fs.existsSync(file(`${name}.sock`))));
}

/** A sidecar with this configuration that is known by its name. */
export async function sidecar(name, configuration) {
    const policy = file(`${name}-rego`);
    fs.mkdirSync(policy);
    fs.writeFileSync(path.join(policy, 'global.rego'), POLICY);
    const it = await Sidecar.start(name, {
        identity: { workload_api: `unix://${file(`${name}.sock`)}`, danger_accept_dev_agent: true },
        log: { level: 'warn' },
        policy,
        ...configuration,
    });
    running.push(it);
    return it;
}

/** An inbound listener that lets everybody do everything. */
export function inbound(port, application, more = {}) {
    return { listen: `127.0.0.1:${port}`, forward_to: `127.0.0.1:${application}`, routes: EVERYTHING, ...more };
}

/** An outbound listener that leads to the sidecar called `server`. */
export function outbound(port, to, more = {}) {
    return {
        listen: `127.0.0.1:${port}`, connect_to: `127.0.0.1:${to}`, expect: `${DOMAIN}/prod/server`, ...more,
    };
}

/** A program of others. Answers with how it ended and what it said. */
export async function program(command, words, { patience = 300_000, ...options } = {}) {
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) {
        child[name].setEncoding('utf8').on('data', (text) => {
            said[name] += text;
        });
    }
    const late = setTimeout(() => child.kill('SIGKILL'), patience);
    const [status] = await once(child, 'close');
    clearTimeout(late);
    return { status, ...said };
}

/** A program of others that serves until the end. */
export function server(name, command, words, options) {
    const it = new Process(name, command, words, options);
    running.push(it);
    return it;
}

/** Somebody listens there. */
export async function listening(port) {
    await until(`somebody on ${port}`, async () => {
        const socket = net.connect(port, '127.0.0.1');
        const [outcome] = await Promise.race([
            once(socket, 'connect').then(() => [true]),
            once(socket, 'error').then(() => [false]),
        ]).catch(() => [false]);
        socket.destroy();
        return outcome;
    });
}

export async function stopAll() {
    for (const it of running.reverse()) {
        await it.stop(it.name === 'agent' ? 'SIGINT' : 'SIGTERM');
    }
}

// === An identity of one's own

/** The fields of a message in protocol buffers, as far as the Workload API uses them. */
function fields(bytes) {
    const found = new Map();
    let at = 0;
    const number = () => {
        let value = 0;
        for (let shift = 0; ; shift += 7) {
            const byte = bytes[at++];
            value += (byte & 0x7f) * 2 ** shift;
            if (byte < 0x80) {
                return value;
            }
        }
    };
    while (at < bytes.length) {
        const key = number();
        const length = number();
        if (key % 8 === 2) {
            found.set(key >> 3, [...(found.get(key >> 3) ?? []), bytes.subarray(at, at + length)]);
            at += length;
        }
    }
    return found;
}

/** One certificate after the other, as they lie in DER. */
function certificates(der) {
    const list = [];
    for (let rest = der; rest.length > 0;) {
        const one = new crypto.X509Certificate(rest);
        list.push(one.toString());
        rest = rest.subarray(one.raw.length);
    }
    return list;
}

/** The SVID of that name, asked for at the Workload API as any workload would: chain, key, authorities. */
export async function svid(name) {
    const session = http2.connect('http://localhost', { createConnection: () => net.connect(file(`${name}.sock`)) });
    const stream = session.request({
        ':method': 'POST',
        ':path': '/SpiffeWorkloadAPI/FetchX509SVID',
        'content-type': 'application/grpc',
        te: 'trailers',
        'workload.spiffe.io': 'true',
    });
    stream.end(Buffer.alloc(5));
    let got = Buffer.alloc(0);
    for await (const piece of stream) {
        got = Buffer.concat([got, piece]);
        if (got.length >= 5 && got.length >= 5 + got.readUInt32BE(1)) {
            break;
        }
    }
    session.destroy();
    const message = fields(fields(got.subarray(5, 5 + got.readUInt32BE(1))).get(1)[0]);
    const [chain, [key], bundle] = [message.get(2)[0], message.get(3), message.get(4)[0]];
    return {
        cert: certificates(chain).join('\n'),
        key: crypto.createPrivateKey({ key, format: 'der', type: 'pkcs8' }).export({ type: 'pkcs8', format: 'pem' }),
        ca: certificates(bundle).join('\n'),
    };
}

/** TLS for tools that have no certificate: every byte goes through to `port` over mutual TLS. */
export async function originate(port, identity, protocol) {
    const listener = net.createServer({ allowHalfOpen: true }, (plain) => {
        const secure = tls.connect({
            port, host: '127.0.0.1', ...identity, ALPNProtocols: [protocol],
            checkServerIdentity: () => undefined, allowHalfOpen: true,
        });
        plain.pipe(secure).pipe(plain);
        for (const [one, other] of [[plain, secure], [secure, plain]]) {
            one.on('error', () => other.destroy());
            one.on('close', () => other.destroySoon());
        }
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return { port: listener.address().port, close: () => listener.close() };
}
