// What the suite needs beside the world: `opa` itself, keys, and a server for what it builds.

import { execFileSync, spawnSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as https from 'node:https';
import * as path from 'node:path';

import { Sidecar, file, freePort, until } from '../oidc/world.mjs';

const OPA = process.env.OPA ?? 'opa';

/** Runs `opa` in a folder. It tells what is wrong on either stream. */
export function opa(cwd, ...words) {
    const ran = spawnSync(OPA, words, { cwd, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
    if (ran.status !== 0) {
        throw new Error(`opa ${words[0]}: ${ran.error ?? ''} ${ran.stdout} ${ran.stderr}`);
    }
}

/** A key pair in PEM; `kid` in the JWK set. */
export function keys(name, kind, options) {
    const { privateKey, publicKey } = crypto.generateKeyPairSync(kind, options);
    const it = { name, secret: file(`${name}.secret.pem`), public: file(`${name}.pem`), publicKey };
    fs.writeFileSync(it.secret, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    fs.writeFileSync(it.public, publicKey.export({ type: 'spki', format: 'pem' }));
    return it;
}

export function jwks(...pairs) {
    const set = pairs.map(({ name, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid: name, use: 'sig' }));
    return JSON.stringify({ keys: set });
}

/** A folder with these files. */
export function folderOf(name, files) {
    const root = file(name);
    for (const [at, text] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(root, at)), { recursive: true });
        fs.writeFileSync(path.join(root, at), typeof text === 'string' ? text : JSON.stringify(text));
    }
    return root;
}

/** `opa build`, with more words for it. */
export function build(root, ...words) {
    const out = `${root}.tar.gz`;
    opa(root, 'build', '-b', '.', '-o', out, ...words);
    return fs.readFileSync(out);
}

/** `opa sign` of the files as they are, and `tar` as anybody would call it. */
export function signAndPack(root, key, algorithm) {
    fs.rmSync(path.join(root, '.signatures.json'), { force: true });
    opa(root, 'sign', '--signing-key', key.secret, '--signing-alg', algorithm, '--bundle', '.');
    return pack(root);
}

export function pack(root) {
    return execFileSync('tar', ['-czf', '-', '-C', root, '.'], { maxBuffer: 2 ** 26 });
}

/** Serves bundles by path, with tags. */
export class BundleServer {
    static async start(certificate, ca) {
        const it = new BundleServer();
        it.content = new Map();
        it.ca = ca;
        it.port = await freePort();
        const [cert, key] = [certificate.chain, certificate.key].map((name) => fs.readFileSync(name));
        it.server = https.createServer({ cert, key }, (request, response) => {
            const found = it.content.get(request.url);
            if (found === undefined) {
                response.writeHead(404).end();
            } else if (request.headers['if-none-match'] === found.etag) {
                response.writeHead(304, { etag: found.etag }).end();
            } else {
                response.writeHead(200, { etag: found.etag, 'content-type': 'application/gzip' }).end(found.body);
            }
        });
        it.server.listen(it.port, '127.0.0.1');
        await once(it.server, 'listening');
        return it;
    }

    url(name) {
        return `https://localhost:${this.port}/${name}`;
    }

    publish(name, body) {
        const etag = `"${crypto.createHash('sha256').update(body).digest('hex')}"`;
        this.content.set(`/${name}`, { body, etag });
    }

    close() {
        this.server.close();
    }
}

/** A sidecar that takes its policy from that server. */
export class Bundled {
    static async start(server, name, trust, configuration, first) {
        const it = new Bundled();
        it.server = server;
        it.name = `${name}.tar.gz`;
        server.publish(it.name, first);
        const bundle = { url: server.url(it.name), ca: server.ca, poll: { every: '1s' }, ...trust };
        it.sidecar = await Sidecar.start(name, { policy: undefined, bundle, ...configuration });
        return it;
    }

    async downloads(result) {
        const series = `sidegate_bundle_downloads_total{bundle="policy",result="${result}"}`;
        return this.sidecar.figure(series);
    }

    async #after(body, result) {
        const before = await this.downloads(result);
        this.server.publish(this.name, body);
        await until(`${this.name} to be ${result}`, async () => (await this.downloads(result)) > before);
    }

    /** It is in force. */
    async takes(body) {
        await this.#after(body, 'activated');
    }

    /** Why it is not. */
    async refuses(body) {
        await this.#after(body, 'refused');
        const { ready, notes } = await this.sidecar.readiness();
        const note = notes.find(({ code }) => code === 'bundle_refused');
        return { ready, why: note?.message ?? '' };
    }
}
