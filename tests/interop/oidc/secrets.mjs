// What nobody may read, and the search for it.

import * as assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';

import { file, folder, write } from './world.mjs';

const secrets = [];

const base64 = (text) => Buffer.from(text).toString('base64');
const formEncoded = (text) => new URLSearchParams({ text }).toString().replace('text=', '');

/** A secret in a file of its own, with everything that has to be encoded somewhere on its way. */
export function secret(name, client = name) {
    const text = `${crypto.randomBytes(12).toString('hex')}:%+&= /${crypto.randomBytes(12).toString('hex')}`;
    for (const encoded of [encodeURIComponent, formEncoded]) {
        secrets.push(encoded(text), base64(`${client}:${encoded(text)}`));
    }
    secrets.push(text, base64(`${client}:${text}`));
    write(`${name}.secret`, `${text}\n`);
    return text;
}

/** A key, its public half as a JWK set, and a maker of short-lived tokens. */
export function signer(kid) {
    const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const part = (it) => Buffer.from(JSON.stringify(it)).toString('base64url');
    const sign = (claims, head = { kid }) => {
        const iat = Math.floor(Date.now() / 1000);
        const jti = crypto.randomUUID();
        const text = `${part({ alg: 'ES256', ...head })}.${part({ iat, exp: iat + 60, jti, ...claims })}`;
        const signature = crypto.sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
        return `${text}.${signature.toString('base64url')}`;
    };
    secrets.push(privateKey.export({ format: 'jwk' }).d);
    return { sign, jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] } };
}

/** Everything of these tokens, of our secrets, and of the keys in our folder that nobody may read. */
export function needles(tokens) {
    // The head of a token names a key. The rest is nobody's business.
    const parts = tokens.flatMap((token) => token.split('.').slice(1));
    const keys = fs.readdirSync(folder)
        .filter((name) => name.endsWith('.key'))
        .flatMap((name) => fs.readFileSync(file(name), 'utf8').split('\n'))
        .filter((line) => line.length >= 12 && !line.startsWith('-----'));
    return new Set([...secrets, ...parts, ...keys]);
}

/** Where in `said` which of `needles` can be read. */
export function leaks(said, needles) {
    const found = [];
    for (const needle of needles) {
        assert.ok(needle.length >= 12, 'what is too short is found by chance');
        for (const [where, text] of Object.entries(said)) {
            if (text.includes(needle)) {
                found.push(`${where}: ${needle.slice(0, 6)}…`);
            }
        }
    }
    return found;
}

