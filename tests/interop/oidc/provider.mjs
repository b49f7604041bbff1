// An OpenID provider as others run it: `oidc-provider`, over HTTPS on loopback.
//
//   node provider.mjs SETTINGS.json
//
// Sets up clients and keys, and adds token exchange, which the package leaves to its users. What
// it issues is the package's work. `GET /control` and `POST /control` are for the suite: they tell
// what was issued to whom, turn keys and the clock, and make the token endpoint slow or failing.

import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import * as jose from 'jose';
import Provider, { errors } from 'oidc-provider';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SCOPES = ['billing:read', 'billing:write'];
const AUDIENCES = { 'https://billing.example/': 'billing', 'https://ledger.example/': 'ledger' };
const DEFAULT_RESOURCE = 'https://billing.example/';
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];

/** @type {{port: number, tls: {key: string, chain: string}, subjects: object, clients: object[]}} */
const settings = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const issuer = `https://localhost:${settings.port}`;
const clients = new Map(settings.clients.map((client) => [client.id, client]));

// The newest key of an algorithm signs; those before it stay published until they are retired.
const keys = ALGORITHMS.map(newKey);
const issued = [];
const refused = [];
const asked = {};
let clockOffset = 0;
let failures = 0;
let delay = 0;
let answer = newProvider();

const now = Date.now;
Date.now = () => now() + clockOffset * 1000;

function newKey(alg) {
    const kid = `${alg}-${crypto.randomUUID()}`;
    const pair = {
        RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
        PS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
        ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
        EdDSA: () => crypto.generateKeyPairSync('ed25519'),
    }[alg]();
    return { ...pair.privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
}

function signingKey(alg) {
    return keys.findLast((key) => key.alg === alg);
}

/** The package takes its keys once, so a change of keys makes a new one in the same place. */
function newProvider() {
    const provider = new Provider(issuer, {
        clients: settings.clients.map(metadata),
        jwks: { keys },
        scopes: SCOPES,
        features: {
            clientCredentials: { enabled: true },
            devInteractions: { enabled: false },
            resourceIndicators: {
                enabled: true,
                defaultResource: () => DEFAULT_RESOURCE,
                getResourceServerInfo: resourceServer,
            },
        },
        extraTokenClaims: (_, token) => clients.get(token.clientId).claims,
        formats: { customizers: { jwt: disturb } },
        ttl: {
            AccessToken: (_, token) => token.resourceServer.accessTokenTTL,
            ClientCredentials: (_, token) => token.resourceServer.accessTokenTTL,
        },
    });
    const parameters = [
        'audience', 'resource', 'scope', 'requested_token_type',
        'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type',
    ];
    provider.registerGrantType(EXCHANGE, (ctx) => exchange(provider, ctx), parameters);
    provider.on('grant.success', (ctx) => issued.push(record(ctx)));
    provider.on('grant.error', (ctx, error) => {
        refused.push({ client: ctx.oidc?.params?.client_id, error: error.error, why: error.error_detail });
    });
    provider.on('server_error', (_, error) => console.error(error));
    return provider.callback();
}

function metadata({ id, auth, secret, jwks, exchange: exchanges }) {
    return {
        client_id: id,
        client_secret: secret,
        jwks,
        token_endpoint_auth_method: auth,
        grant_types: [exchanges ? EXCHANGE : 'client_credentials'],
        redirect_uris: [],
        response_types: [],
        scope: SCOPES.join(' '),
    };
}

function resourceServer(_, resource, client) {
    const { alg = 'RS256', lifetime = 300 } = clients.get(client.clientId);
    if (!Object.hasOwn(AUDIENCES, resource)) {
        throw new errors.InvalidTarget();
    }
    return {
        audience: AUDIENCES[resource],
        scope: SCOPES.join(' '),
        accessTokenFormat: 'jwt',
        accessTokenTTL: lifetime,
        jwt: { sign: { alg, kid: signingKey(alg).kid } },
    };
}

/** Takes claims away that the package would write, for clients that are set up so. */
function disturb(_, token, jwt) {
    for (const name of clients.get(token.clientId).without ?? []) {
        delete jwt.payload[name];
    }
}

/** RFC 8693, impersonation: the new token speaks for the subject of the old. */
async function exchange(provider, ctx) {
    const { client, params } = ctx.oidc;
    const jwtType = 'urn:ietf:params:oauth:token-type:jwt';
    if (params.subject_token_type !== jwtType || !params.subject_token) {
        throw new errors.InvalidRequest('a subject token of the type jwt is needed');
    }
    let subject;
    try {
        const subjects = jose.createLocalJWKSet(settings.subjects.jwks);
        const options = { issuer: settings.subjects.issuer, audience: issuer };
        subject = (await jose.jwtVerify(params.subject_token, subjects, options)).payload.sub;
    } catch (cause) {
        throw new errors.InvalidGrant('the subject token does not hold', undefined, { cause });
    }
    const resource = params.resource
        ?? Object.keys(AUDIENCES).find((key) => AUDIENCES[key] === params.audience)
        ?? DEFAULT_RESOURCE;
    const token = new provider.AccessToken({
        accountId: subject,
        client,
        gty: 'token_exchange',
        scope: (params.scope ?? '').split(' ').filter((scope) => SCOPES.includes(scope)).join(' '),
    });
    token.resourceServer = new provider.ResourceServer(resource, resourceServer(ctx, resource, client));
    ctx.oidc.entity('AccessToken', token);
    ctx.body = {
        access_token: await token.save(),
        issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        token_type: 'Bearer',
        expires_in: token.expiration,
        scope: token.scope,
    };
}

/** What was issued, and by which of the ways the client proved who it is. */
function record(ctx) {
    const { client, params } = ctx.oidc;
    const proof = [
        ctx.headers.authorization?.startsWith('Basic ') && 'client_secret_basic',
        params.client_secret && 'client_secret_post',
        params.client_assertion && 'private_key_jwt',
    ].filter(Boolean);
    return {
        client: client.clientId,
        grant: params.grant_type,
        proof,
        resource: params.resource,
        tokens: [ctx.body.access_token, params.client_assertion, params.subject_token].filter(Boolean),
    };
}

function control(order) {
    const { rotate, retire, clock } = order;
    failures = order.failures ?? failures;
    delay = order.delay ?? delay;
    if (rotate) {
        keys.push(newKey(rotate));
    }
    if (retire) {
        const newest = signingKey(retire);
        keys.splice(0, Infinity, ...keys.filter((key) => key.alg !== retire || key === newest));
    }
    if (clock !== undefined) {
        clockOffset = clock;
    }
    if (rotate || retire) {
        answer = newProvider();
    }
    return { kids: keys.map((key) => key.kid), issued, refused, asked };
}

async function body(request) {
    const chunks = [];
    for await (const chunk of request) {
        chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
}

async function handle(request, response) {
    if (request.url !== '/control') {
        asked[request.url] = (asked[request.url] ?? 0) + 1;
        if (request.url === '/token') {
            if (failures > 0) {
                failures -= 1;
                response.writeHead(503).end();
                return;
            }
            await sleep(delay);
        }
        await answer(request, response);
        return;
    }
    const order = request.method === 'POST' ? JSON.parse(await body(request)) : {};
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(control(order)));
}

const server = https.createServer({
    key: fs.readFileSync(settings.tls.key),
    cert: fs.readFileSync(settings.tls.chain),
}, (request, response) => {
    handle(request, response).catch((error) => {
        console.error(error);
        response.destroy();
    });
});
server.listen(settings.port, '127.0.0.1', () => console.log('listening'));
