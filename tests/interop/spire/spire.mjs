// Trust domains: real SPIRE servers and agents, each pair with a folder, a port and sockets of its own.

import * as fs from 'node:fs';
import * as path from 'node:path';

import { file } from '../oidc/world.mjs';
import { Program, freePort, program, run, user } from './world.mjs';

const SERVER = (it) => `server {
    trust_domain = "${it.name}"
    bind_address = "127.0.0.1"
    bind_port = "${it.port}"
    socket_path = "${it.socket}"
    data_dir = "${it.home}"
    log_level = "DEBUG"
    ${it.issuer ? `jwt_issuer = "${it.issuer}"` : ''}
    federation {
        bundle_endpoint {
            address = "127.0.0.1"
            port = ${it.endpoint}
            ${it.web ? `profile "https_web" {
                serving_cert_file {
                    cert_file_path = "${it.web.chain}"
                    key_file_path = "${it.web.key}"
                    file_sync_interval = "1m"
                }
            }` : ''}
        }
    }
}
plugins {
    DataStore "sql" {
        plugin_data { database_type = "sqlite3", connection_string = "${it.home}/data.sqlite3" }
    }
    KeyManager "disk" { plugin_data { keys_path = "${it.home}/keys.json" } }
    NodeAttestor "join_token" { plugin_data {} }
}
`;

const AGENT = (it) => `agent {
    trust_domain = "${it.name}"
    server_address = "127.0.0.1"
    server_port = "${it.port}"
    trust_bundle_path = "${it.home}/bundle.pem"
    socket_path = "${it.workloadApi}"
    data_dir = "${it.home}/agent"
    log_level = "DEBUG"
}
plugins {
    KeyManager "disk" { plugin_data { directory = "${it.home}/agent" } }
    NodeAttestor "join_token" { plugin_data {} }
    WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`;

/** A trust domain: one server, one agent. */
export class Spire {
    #server;

    #agent;

    #joined;

    /** `web`: a certificate for a bundle endpoint for all the web; `trusts`: authorities of others'. */
    static async start(name, { issuer, web, trusts } = {}) {
        const it = new Spire();
        Object.assign(it, { name, issuer, web, trusts, home: file(name) });
        it.id = `spiffe://${name}`;
        it.socket = path.join(it.home, 'server.sock');
        it.workloadApi = path.join(it.home, 'api.sock');
        it.port = await freePort();
        it.endpoint = await freePort();
        fs.mkdirSync(path.join(it.home, 'agent'), { recursive: true });
        fs.writeFileSync(path.join(it.home, 'server.conf'), SERVER(it));
        fs.writeFileSync(path.join(it.home, 'agent.conf'), AGENT(it));
        await it.startServer();
        return it;
    }

    async startServer() {
        const words = [`SSL_CERT_FILE=${this.trusts ?? ''}`, program('spire-server'), 'run',
            '-config', path.join(this.home, 'server.conf')];
        this.#server = new Program(`${this.name}-server`, 'env', this.trusts ? words : words.slice(1));
        await this.#server.until('to be healthy', () => this.server('healthcheck'));
    }

    /** As it was: after the first time it proves itself by the SVID that it got. */
    async startAgent() {
        const words = ['run', '-config', path.join(this.home, 'agent.conf')];
        if (!this.#joined) {
            fs.writeFileSync(path.join(this.home, 'bundle.pem'), await this.server('bundle', 'show'));
            const said = await this.server('token', 'generate', '-spiffeID', `${this.id}/node`);
            words.push('-joinToken', said.match(/^Token: (\S+)/)[1]);
            this.#joined = true;
        }
        this.#agent = new Program(`${this.name}-agent`, program('spire-agent'), words);
        const healthy = () => run(program('spire-agent'), 'healthcheck', '-socketPath', this.workloadApi);
        await this.#agent.until('to be healthy', healthy);
    }

    async stopServer(signal) {
        await this.#server?.stop(signal);
    }

    async stopAgent(signal) {
        await this.#agent?.stop(signal);
    }

    async stop() {
        await this.stopAgent();
        await this.stopServer();
    }

    /** `spire-server`, about this server. */
    async server(...words) {
        return run(program('spire-server'), ...words, '-socketPath', this.socket);
    }

    /** An entry by the last part of its SPIFFE ID; `more` are words for `spire-server`. */
    async entry(name, selectors, ...more) {
        return this.#entry('create', name, name, selectors, more);
    }

    async change(entry, name, selectors, ...more) {
        return this.#entry('update', entry, name, selectors, more);
    }

    async #entry(how, entry, name, selectors, more) {
        const by = selectors.flatMap((it) => ['-selector', `unix:${it}`]);
        return this.server('entry', how, '-entryID', entry, '-parentID', `${this.id}/node`,
            '-spiffeID', `${this.id}/prod/${name}`, '-x509SVIDTTL', '60', ...by, ...more);
    }

    async forget(entry) {
        return this.server('entry', 'delete', '-entryID', entry);
    }

    /** Of `x509` or `jwt`: the authority that signs. */
    async authority(kind) {
        const said = JSON.parse(await this.server('localauthority', kind, 'show', '-output', 'json'));
        return said.active.authority_id;
    }

    /** The new one is in the bundle, and signs nothing yet. */
    async prepare(kind) {
        const said = JSON.parse(await this.server('localauthority', kind, 'prepare', '-output', 'json'));
        return said.prepared_authority.authority_id;
    }

    async authorityStep(kind, step, id) {
        return this.server('localauthority', kind, step, '-authorityID', id);
    }

    /** Authorities in the bundle that the agent gives a workload. */
    async authorities(uid) {
        const words = [program('spire-agent'), 'api', 'fetch', 'x509', '-socketPath', this.workloadApi];
        const [command, ...rest] = user(uid, ...words);
        return (await run(command, ...rest)).split('\n').filter((line) => /CA #.*Valid After/.test(line)).length;
    }

    /** A JWT-SVID for whoever runs as this user. */
    async token(uid, audience) {
        const words = [program('spire-agent'), 'api', 'fetch', 'jwt', '-audience', audience,
            '-socketPath', this.workloadApi, '-output', 'json'];
        const [command, ...rest] = user(uid, ...words);
        return JSON.parse(await run(command, ...rest))[0].svids[0].svid;
    }

    /** From now on it learns the other's bundle by itself, from the other's bundle endpoint. */
    async federate(other) {
        const bundle = path.join(this.home, `${other.name}.bundle`);
        fs.writeFileSync(bundle, await other.server('bundle', 'show', '-format', 'spiffe'));
        const profile = other.web
            ? ['-bundleEndpointProfile', 'https_web']
            : ['-bundleEndpointProfile', 'https_spiffe', '-endpointSpiffeID', `${other.id}/spire/server`];
        const host = other.web ? 'localhost' : '127.0.0.1';
        await this.server('federation', 'create', '-trustDomain', other.name, ...profile,
            '-bundleEndpointURL', `https://${host}:${other.endpoint}`,
            '-trustDomainBundlePath', bundle, '-trustDomainBundleFormat', 'spiffe');
    }
}

/** SPIRE's OIDC discovery provider: the keys for JWT-SVIDs as those of an issuer. */
export async function discovery(spire, issuer, certificate) {
    const { hostname, port } = new URL(issuer);
    const settings = path.join(spire.home, 'discovery.conf');
    fs.writeFileSync(settings, `log_level = "debug"
domains = ["${hostname}"]
jwt_issuer = "${issuer}"
jwks_uri = "${issuer}/keys"
serving_cert_file {
    addr = "127.0.0.1:${port}"
    cert_file_path = "${certificate.chain}"
    key_file_path = "${certificate.key}"
}
server_api { address = "unix://${spire.socket}" }
`);
    return new Program(`${spire.name}-discovery`, program('oidc-discovery-provider'), ['-config', settings]);
}
