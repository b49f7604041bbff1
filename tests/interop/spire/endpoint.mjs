// A token endpoint that knows its clients by their JWT-SVIDs (RFC 7523). It takes the keys from SPIRE's
// OIDC discovery provider, as whoever is not part of the trust domain would.

import * as crypto from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as https from 'node:https';

import { ask } from '../oidc/world.mjs';
import { freePort } from './world.mjs';

const part = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
const read = (text) => JSON.parse(Buffer.from(text, 'base64url'));

export class TokenEndpoint {
    /** `trusted` is the issuer of assertions; `ca` vouches for both servers. */
    static async start(trusted, certificate, ca) {
        const it = new TokenEndpoint();
        Object.assign(it, { trusted, ca, refused: [], issued: [] });
        const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
        it.key = privateKey;
        it.jwks = JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'one', use: 'sig' }] });
        const port = await freePort();
        it.issuer = `https://localhost:${port}`;
        const [cert, key] = [certificate.chain, certificate.key].map((name) => fs.readFileSync(name));
        it.server = https.createServer({ cert, key }, async (request, response) => {
            const form = new URLSearchParams((await request.setEncoding('utf8').toArray()).join(''));
            const answer = await it.#judge(form.get('client_assertion')).catch((error) => {
                it.refused.push(String(error));
                return undefined;
            });
            response.writeHead(answer ? 200 : 401, { 'content-type': 'application/json', 'cache-control': 'no-store' });
            response.end(JSON.stringify(answer ?? { error: 'invalid_client' }));
        });
        it.server.listen(port, '127.0.0.1');
        await once(it.server, 'listening');
        return it;
    }

    async #judge(assertion) {
        const [head, body, signature] = assertion.split('.');
        const discovered = (await ask(`${this.trusted}/.well-known/openid-configuration`, { ca: this.ca })).json();
        const { keys } = (await ask(discovered.jwks_uri, { ca: this.ca })).json();
        const jwk = keys.find(({ kid }) => kid === read(head).kid);
        const key = { key: crypto.createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
        const holds = crypto.verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url'));
        const { iss, sub, aud, exp } = read(body);
        const now = Math.floor(Date.now() / 1000);
        if (!holds || iss !== this.trusted || discovered.issuer !== iss || exp <= now || ![aud].flat().includes(this.issuer)) {
            throw new Error(`${holds} ${iss} ${sub} ${aud} ${exp}`);
        }
        this.issued.push(sub);
        const claims = { iss: this.issuer, sub: sub.split('/').at(-1), aud: 'orders', iat: now, exp: now + 300,
            scope: 'orders:read', tenant: 'acme' };
        const signed = `${part({ alg: 'ES256', typ: 'JWT', kid: 'one' })}.${part(claims)}`;
        const own = { key: this.key, dsaEncoding: 'ieee-p1363' };
        const token = `${signed}.${crypto.sign('sha256', Buffer.from(signed), own).toString('base64url')}`;
        return { access_token: token, token_type: 'Bearer', expires_in: 300 };
    }

    stop() {
        this.server.close();
    }
}
