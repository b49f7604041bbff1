//! How both sides of a connection prove who they are: by SVID, by token, by a certificate for a
//! name.

use super::file::{File, InboundFile, MethodOfProof, OutboundFile, ProtocolFile};
use super::file_jwt::CertificateFile;
use super::jwt::{DefaultPresent, Tokens};
use super::present::present;
use super::problems::Problems;
use super::reading::Surroundings;
use super::token_values;
use super::tree::Place;
use super::{Accept, Fallback};
use crate::files::SecretFile;
use crate::tls::{CertificateFiles, HostName, RootsFrom};
use crate::token::Present;

/// Whether any listener has to do with SPIFFE, by what is written.
pub(super) fn spiffe_is_used(file: &File) -> bool {
    let inbound = file.inbound.iter().flatten().flatten().map(|it| &it.accept);
    let outbound = file.outbound.iter().flatten().flatten().map(|it| &it.authenticate_with);
    inbound
        .chain(outbound)
        .flatten()
        .flatten()
        .flatten()
        .any(|method| *method == MethodOfProof::Spiffe)
}

/// Reports what `jwt` says for no listener. Looks at what is written, and is silent where that is
/// faulty: it may have been about to name `jwt`.
pub(super) fn tokens_are_used(file: &File, at: &Place<'_>, problems: &mut Problems) {
    let inbound = file.inbound.as_deref().unwrap_or_default();
    let inbound = inbound.iter().map(|it| it.as_ref()?.accept.as_deref());
    let outbound = file.outbound.as_deref().unwrap_or_default();
    let outbound = outbound.iter().map(|it| it.as_ref()?.authenticate_with.as_deref());
    let jwt = at.key("jwt");
    if !at.key("inbound").is_faulty() && !any_may_name_jwt(inbound) {
        for key in ["issuers", "svid"] {
            let place = jwt.key(key);
            if place.is_written() {
                let hint = "remove it, or write `accept: [spiffe, jwt]` on an inbound listener";
                place.report(problems, "means nothing: no listener accepts `jwt`", hint);
            }
        }
    }
    let place = jwt.key("present");
    if !at.key("outbound").is_faulty() && !any_may_name_jwt(outbound) && place.is_written() {
        let hint = "remove it, or write `authenticate_with: [spiffe, jwt]` on an outbound listener";
        place.report(problems, "means nothing: no listener authenticates with `jwt`", hint);
    }
}

fn any_may_name_jwt<'a>(
    mut lists: impl Iterator<Item = Option<&'a [Option<MethodOfProof>]>>,
) -> bool {
    lists.any(|list| {
        list.is_none_or(|list| list.iter().any(|it| it.is_none_or(|it| it == MethodOfProof::Jwt)))
    })
}

/// What a listener names: not empty, and nothing twice.
#[derive(Debug, Clone, Copy)]
struct Methods {
    spiffe: bool,
    jwt: bool,
}

fn methods(
    list: Option<&[Option<MethodOfProof>]>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Methods> {
    let list = list?;
    if list.is_empty() {
        at.report(problems, "is empty", "write `[spiffe]`, or leave the key out");
        return None;
    }
    let mut methods = Methods { spiffe: false, jwt: false };
    let mut sound = true;
    for (index, method) in list.iter().enumerate() {
        let (seen, name) = match method {
            Some(MethodOfProof::Spiffe) => (&mut methods.spiffe, "spiffe"),
            Some(MethodOfProof::Jwt) => (&mut methods.jwt, "jwt"),
            None => {
                sound = false;
                continue;
            }
        };
        if *seen {
            let message = format!("`{name}` is listed twice");
            at.item(index).report(problems, message, "remove one of the two");
            sound = false;
        }
        *seen = true;
    }
    sound.then_some(methods)
}

/// A raw stream has no headers.
fn needs_http(methods: Methods, protocol: ProtocolFile, at: &Place<'_>, problems: &mut Problems) {
    if methods.jwt && protocol == ProtocolFile::Tcp {
        let hint = "write `[spiffe]`, or use `protocol: http`; a raw stream has no place for a \
                    token";
        at.report(problems, "`jwt` does not go with `protocol: tcp`", hint);
    }
}

/// What an inbound listener asks of callers, and shows to those with a token.
pub(super) fn inbound(
    file: &InboundFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    tokens: &Tokens,
    problems: &mut Problems,
) -> Option<(Accept, Option<CertificateFiles>)> {
    let place = at.key("accept");
    let methods = methods(file.accept.as_deref(), &place, problems);
    let given = at.key("certificate");
    let certificate = file.certificate.as_ref().map(|it| certificate(it, &given, around, problems));
    let methods = methods?;
    if let Some(protocol) = file.protocol {
        needs_http(methods, protocol, &place, problems);
    }
    if methods.jwt && !tokens.believed {
        let hint = "add an issuer to `jwt.issuers`, or `jwt.svid: { audience: ... }`";
        place.report(problems, "takes tokens by `jwt`, and nobody's are believed", hint);
    }
    if !methods.jwt && given.is_written() {
        let hint = "remove it, or add `jwt` to `accept`; callers with SPIFFE are shown our SVID";
        given.report(problems, "means nothing without `jwt` in `accept`", hint);
    }
    if !methods.spiffe && !given.is_written() && around.no_agent {
        let hint = "add `certificate: { chain: /path/tls.crt, key: /path/tls.key }`, or a \
                    Workload API under `identity`";
        given.report(problems, "is missing, and there is no SVID to show instead", hint);
    }
    if file.certificate.is_none() && given.is_faulty() {
        return None;
    }
    let accept = match (methods.spiffe, methods.jwt) {
        (true, true) => Accept::SpiffeOrJwt,
        (false, true) => Accept::Jwt,
        (_, false) => Accept::Spiffe,
    };
    match certificate {
        Some(certificate) => Some((accept, Some(certificate?))),
        None => Some((accept, None)),
    }
}

fn certificate(
    file: &CertificateFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<CertificateFiles> {
    let chain = around.path(file.chain.as_deref(), &at.key("chain"), problems);
    let danger = file.danger_key_readable_by_others;
    let key: Option<SecretFile> =
        around.secret_file(file.key.as_deref(), danger, &at.key("key"), problems);
    Some(CertificateFiles { chain: chain?, key: key? })
}

/// How an outbound listener proves who we are.
pub(super) struct Outward {
    pub spiffe: bool,
    pub fallback: Option<Fallback>,
}

pub(super) fn outbound(
    file: &OutboundFile,
    at: &Place<'_>,
    connect_to: Option<&(String, u16)>,
    around: &Surroundings<'_>,
    tokens: &Tokens,
    problems: &mut Problems,
) -> Option<Outward> {
    let place = at.key("authenticate_with");
    let methods = methods(file.authenticate_with.as_deref(), &place, problems);
    let own = file.present.as_ref().map(|it| present(it, &at.key("present"), around, problems));
    let methods = methods?;
    if !methods.jwt {
        for key in ["server", "present"] {
            if at.key(key).is_written() {
                let hint = "remove it, or add `jwt` to `authenticate_with`";
                let message = "means nothing without `jwt` in `authenticate_with`";
                at.key(key).report(problems, message, hint);
            }
        }
        return Some(Outward { spiffe: true, fallback: None });
    }
    if let Some(protocol) = file.protocol {
        needs_http(methods, protocol, &place, problems);
    }
    if methods.spiffe && file.authenticate_with.iter().flatten().next() == Some(&JWT) {
        let hint = "write `[spiffe, jwt]`, or `[jwt]` alone";
        place.report(problems, "names `jwt` first, and an SVID is always preferred", hint);
    }
    let present = match own {
        Some(own) => own,
        None if at.key("present").is_faulty() => None,
        None => inherited(&tokens.present, &place, problems),
    };
    let server = server(file, at, connect_to, problems);
    let roots = roots(file, at, around, problems);
    let also = file.server.as_ref().and_then(|it| it.also_without_svid) == Some(true);
    if also && !methods.spiffe {
        let hint = "remove it; without SPIFFE the server is always known by name";
        let place = at.key("server").key("also_without_svid");
        place.report(problems, "means nothing without `spiffe` in `authenticate_with`", hint);
    }
    let (server, roots, present) = (server?, roots?, present?);
    let fallback = Fallback { server, roots, present, also_without_svid: also };
    Some(Outward { spiffe: methods.spiffe, fallback: Some(fallback) })
}

const JWT: Option<MethodOfProof> = Some(MethodOfProof::Jwt);

/// The token of all listeners that have none of their own.
fn inherited(default: &DefaultPresent, at: &Place<'_>, problems: &mut Problems) -> Option<Present> {
    match default {
        DefaultPresent::Given(present) => Some(present.clone()),
        DefaultPresent::Faulty => None,
        DefaultPresent::Absent => {
            let hint = "add `present: { file: /path }` here, or under `jwt` for all listeners";
            at.report(problems, "names `jwt`, and there is no token to present", hint);
            None
        }
    }
}

fn server(
    file: &OutboundFile,
    at: &Place<'_>,
    connect_to: Option<&(String, u16)>,
    problems: &mut Problems,
) -> Option<HostName> {
    let place = at.key("server").key("name");
    if at.key("server").is_faulty() || place.is_faulty() {
        return None;
    }
    if let Some(text) = file.server.as_ref().and_then(|it| it.name.as_deref()) {
        return place.accept(problems, token_values::host_name(text));
    }
    let (host, _) = connect_to?;
    let found = token_values::host_name(host);
    found
        .map_err(|wrong| {
            let hint = "add `server: { name: ... }`: what the server's certificate is for";
            at.key("connect_to").report(problems, wrong.message, hint);
        })
        .ok()
}

fn roots(
    file: &OutboundFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<RootsFrom> {
    let at = at.key("server");
    if at.is_faulty() {
        return None;
    }
    let ca = file.server.as_ref().and_then(|it| it.ca.as_deref());
    around.roots(ca, &at, problems)
}
