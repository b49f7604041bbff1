// Signatures: Project Wycheproof's vectors, by the algorithms that verify certificates and handshakes.

import { program } from './world.mjs';

export const excused = [{
    cases: ({ id, why }) => /^RsaPss(2048Sha256Mgf1SaltLen0|4096Sha512Mgf1SaltLen32)\//.test(id) && why === 'valid, and refused',
    label: 'valid ones with a salt shorter than the hash',
    why: 'In TLS and in JSON Web Signatures the salt is as long as the hash (RFC 8446 section 4.2.3, RFC 7518 section 3.5).',
}, {
    cases: ['RsaPss2048Sha256Mgf1SaltLen0/69'],
    why: 'Invalid only among signatures without salt: it has one as long as the hash, which is what counts here.',
}];

export async function measure() {
    const ran = await program('cargo', ['test', '--quiet', '--test', 'signatures'], { patience: 1_200_000 });
    const line = ran.stdout.split('\n').find((it) => it.startsWith('[{'));
    if (ran.status !== 0 || line === undefined) {
        throw new Error(`signatures: ${ran.stdout} ${ran.stderr}`);
    }
    return JSON.parse(line);
}
