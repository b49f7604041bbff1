"""Envoy: as HTTP proxy with RBAC on the SPIFFE principal, and as TCP proxy."""

from __future__ import annotations

import json
import re
import subprocess

from bench import install
from bench.peer import (
    CLIENT_ID, HTTP1, HTTP2, SERVER_ID, TCP, WORKERS, Launch, Peer, Place, Plan,
)

TYPE = "type.googleapis.com/envoy.extensions."
CONNECTIONS = 100_000


def _typed(kind: str, **fields: object) -> dict:
    return {"@type": f"{TYPE}{kind}", **fields}


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Envoy(Peer):
    """Both kinds. Sessions are resumed only where the name says so, which is its default."""

    def __init__(
        self, name: str, modes: tuple[str, ...], resume: bool = False, only: tuple[str, ...] = ()
    ) -> None:
        self.name, self.modes, self.resume, self.only = name, modes, resume, only
        self.binary = install.find("envoy")
        rbac = "URI SAN both ways; RBAC on the SPIFFE principal"
        self.checks = f"{rbac}; {'network filter' if TCP in modes else 'XFCC'}"
        if resume:
            self.checks += "; resumes sessions, as by default"

    def missing(self) -> str | None:
        return None if self.binary else "there is no envoy"

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, "--version"], capture_output=True, text=True, check=False
        )
        found = re.search(r"/(\d+\.\d+\.\d+)/.*", done.stdout)
        return f"Envoy {found.group(1)}" if found else "Envoy"

    def plan(self, place: Place) -> Plan:
        inner = {mode: place.ports.take() for mode in self.modes}
        outer = {mode: place.ports.take() for mode in self.modes}
        server = self._config(
            [self._listener(mode, inner[mode], self._downstream(place, mode)) for mode in inner],
            [self._cluster(mode, int(place.origin(mode).rsplit(":")[-1])) for mode in inner],
        )
        client = self._config(
            [self._listener(mode, outer[mode], None) for mode in outer],
            [self._cluster(mode, inner[mode], self._upstream(place, mode)) for mode in outer],
        )
        return Plan(
            server=self._launch(place, "server", server, list(inner.values())),
            client=self._launch(place, "client", client, list(outer.values())),
            entries=outer,
        )

    def _launch(self, place: Place, side: str, config: dict, ports: list[int]) -> Launch:
        path = place.write(f"{side}.json", json.dumps(config, indent=1))
        argv = [
            str(self.binary), "--config-path", path, "--concurrency", str(WORKERS),
            "--disable-hot-restart", "--log-level", "error",
        ]
        return Launch(argv, ports)

    @staticmethod
    def _config(listeners: list[dict], clusters: list[dict]) -> dict:
        static = {"listeners": listeners, "clusters": clusters}
        return {"static_resources": static, "overload_manager": {"resource_monitors": [{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": _typed(
                "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=CONNECTIONS,
            ),
        }]}}

    def _tls(self, place: Place, side: str, expected: str, mode: str) -> dict:
        context = {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificates": [{
                "certificate_chain": {"filename": place.cert(f"{side}.pem")},
                "private_key": {"filename": place.cert(f"{side}.key")},
            }],
            "validation_context": {
                "trusted_ca": {"filename": place.cert("ca.pem")},
                "match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": expected}}
                ],
            },
        }
        if mode == HTTP2:
            context["alpn_protocols"] = ["h2"]
        return context

    def _upstream(self, place: Place, mode: str) -> dict:
        fields: dict = {"common_tls_context": self._tls(place, "client", SERVER_ID, mode)}
        if not self.resume:
            fields["max_session_keys"] = 0
        return {
            "name": "tls",
            "typed_config": _typed("transport_sockets.tls.v3.UpstreamTlsContext", **fields),
        }

    def _downstream(self, place: Place, mode: str) -> dict:
        fields: dict = {
            "common_tls_context": self._tls(place, "server", CLIENT_ID, mode),
            "require_client_certificate": True,
        }
        if not self.resume:
            fields["disable_stateless_session_resumption"] = True
            fields["disable_stateful_session_resumption"] = True
        return {
            "name": "tls",
            "typed_config": _typed("transport_sockets.tls.v3.DownstreamTlsContext", **fields),
        }

    def _listener(self, mode: str, port: int, tls: dict | None) -> dict:
        chain: dict = {"filters": self._filters(mode, checked=tls is not None)}
        if tls:
            chain["transport_socket"] = tls
        return {
            "name": mode, "address": _address(port), "filter_chains": [chain],
            "enable_reuse_port": True, "tcp_backlog_size": 4096,
        }

    def _filters(self, mode: str, checked: bool) -> list[dict]:
        if mode != TCP:
            return [self._manager(mode, checked)]
        proxy = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": _typed(
                "filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=mode, cluster=mode
            ),
        }
        if not checked:
            return [proxy]
        rbac = _typed("filters.network.rbac.v3.RBAC", stat_prefix=mode, rules=_rules())
        return [{"name": "envoy.filters.network.rbac", "typed_config": rbac}, proxy]

    @staticmethod
    def _manager(mode: str, checked: bool) -> dict:
        route = {"match": {"prefix": "/"}, "route": {"cluster": mode, "timeout": "0s"}}
        fields: dict = {
            "stat_prefix": mode,
            "codec_type": "HTTP2" if mode == HTTP2 else "HTTP1",
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]
            },
        }
        filters = []
        if checked:
            fields["forward_client_cert_details"] = "SANITIZE_SET"
            fields["set_current_client_cert_details"] = {"uri": True}
            rbac = _typed("filters.http.rbac.v3.RBAC", rules=_rules())
            filters.append({"name": "envoy.filters.http.rbac", "typed_config": rbac})
        filters.append({
            "name": "envoy.filters.http.router", "typed_config": _typed("filters.http.router.v3.Router"),
        })
        kind = "filters.network.http_connection_manager.v3.HttpConnectionManager"
        return {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": _typed(kind, http_filters=filters, **fields),
        }

    @staticmethod
    def _cluster(mode: str, port: int, tls: dict | None = None) -> dict:
        endpoint = {"endpoint": {"address": _address(port)}}
        # The defaults stop at 1,024 connections and requests.
        limits = ("max_connections", "max_pending_requests", "max_requests")
        cluster: dict = {
            "name": mode,
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [dict.fromkeys(limits, CONNECTIONS)]},
            "load_assignment": {
                "cluster_name": mode, "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }
        if mode != TCP:
            protocol = "http2_protocol_options" if mode == HTTP2 else "http_protocol_options"
            kind = "upstreams.http.v3.HttpProtocolOptions"
            cluster["typed_extension_protocol_options"] = {
                f"envoy.extensions.{kind}": _typed(kind, explicit_http_config={protocol: {}}),
            }
        if tls:
            cluster["transport_socket"] = tls
        return cluster


def _rules() -> dict:
    principal = {"authenticated": {"principal_name": {"exact": CLIENT_ID}}}
    policy = {"permissions": [{"any": True}], "principals": [principal]}
    return {"action": "ALLOW", "policies": {"shop": policy}}


def peers() -> list[Peer]:
    return [
        Envoy("envoy-http", (HTTP1, HTTP2)),
        Envoy("envoy-tcp", (TCP,)),
        Envoy("envoy-tcp-resumed", (TCP,), resume=True, only=("connect-tcp",)),
    ]
