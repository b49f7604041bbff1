"""nginx: as HTTP proxy and as TCP proxy. It knows chains and DNS names, not SPIFFE IDs."""

from __future__ import annotations

import os
import subprocess

from bench import install
from bench.peer import HTTP1, HTTP2, SERVER_NAME, TCP, WORKERS, Launch, Peer, Place, Plan
from bench.processes import proxied_connections


class Nginx(Peer):
    """Both kinds. Sessions are resumed only where the name says so, which is its default."""

    def __init__(
        self, name: str, modes: tuple[str, ...], resume: bool = False, only: tuple[str, ...] = ()
    ) -> None:
        self.name, self.modes, self.resume, self.only = name, modes, resume, only
        self.binary = install.find("nginx")
        self.checks = "chain both ways, DNS name of the server"
        if TCP not in modes:
            self.checks += "; subject of the client as a header; HTTP/2 by grpc_pass"
        if resume:
            self.checks += "; resumes sessions, as by default"

    def missing(self) -> str | None:
        if not self.binary:
            return "there is no nginx"
        if TCP in self.modes and not install.nginx_stream_module():
            return "this nginx has no stream module"
        return None

    def version(self) -> str:
        done = subprocess.run(
            [self.binary, "-v"], capture_output=True, text=True, check=False,
            env=install.libraries() or None,
        )
        return done.stderr.strip().rsplit(" ", 1)[-1]

    def plan(self, place: Place) -> Plan:
        inner = {mode: place.ports.take() for mode in self.modes}
        outer = {mode: place.ports.take() for mode in self.modes}
        server = [self._server(place, mode, inner[mode]) for mode in inner]
        client = [self._client(place, mode, outer[mode], inner[mode]) for mode in outer]
        return Plan(
            server=self._launch(place, "server", server, list(inner.values())),
            client=self._launch(place, "client", client, list(outer.values())),
            entries=outer,
        )

    def _launch(self, place: Place, side: str, blocks: list[str], ports: list[int]) -> Launch:
        folder = place.folder / side
        folder.mkdir(exist_ok=True)
        stream = TCP in self.modes
        module = f"load_module {install.nginx_stream_module()};\n" if stream else ""
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "" if stream else "\n".join(
            f"    {kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        http = """    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    grpc_read_timeout 1h;
    grpc_send_timeout 1h;
"""
        config = f"""{module}{user}worker_processes {WORKERS};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections {2 * proxied_connections()}; }}
{"stream" if stream else "http"} {{
{"    proxy_timeout 1h;" if stream else http + temporary}
{"".join(blocks)}}}
"""
        path = place.write(f"{side}.conf", config)
        argv = [str(self.binary), "-c", path, "-p", str(folder), "-e", f"{folder}/error.log"]
        return Launch(argv, ports, env=install.libraries())

    def _client(self, place: Place, mode: str, listen: int, connect: int) -> str:
        prefix = "grpc" if mode == HTTP2 else "proxy"
        tls = f"""        {prefix}_ssl_protocols TLSv1.3;
        {prefix}_ssl_certificate {place.cert("client.pem")};
        {prefix}_ssl_certificate_key {place.cert("client.key")};
        {prefix}_ssl_trusted_certificate {place.cert("ca.pem")};
        {prefix}_ssl_verify on;
        {prefix}_ssl_name {SERVER_NAME};
        {prefix}_ssl_session_reuse {"on" if self.resume else "off"};
"""
        if mode == TCP:
            return f"""    server {{
        listen 127.0.0.1:{listen} reuseport backlog=4096;
        proxy_pass 127.0.0.1:{connect};
        proxy_ssl on;
{tls}    }}
"""
        scheme = "grpcs" if mode == HTTP2 else "https"
        return _http(mode, listen, "", f"127.0.0.1:{connect}", scheme, tls)

    def _server(self, place: Place, mode: str, listen: int) -> str:
        tls = f"""        ssl_protocols TLSv1.3;
        ssl_certificate {place.cert("server.pem")};
        ssl_certificate_key {place.cert("server.key")};
        ssl_client_certificate {place.cert("ca.pem")};
        ssl_verify_client on;
        ssl_session_tickets {"on" if self.resume else "off"};
"""
        if mode == TCP:
            return f"""    server {{
        listen 127.0.0.1:{listen} ssl reuseport backlog=4096;
        proxy_pass {place.origin(mode)};
{tls}    }}
"""
        set_header = "grpc_set_header" if mode == HTTP2 else "proxy_set_header"
        # Headers set here replace those set above.
        tls += f"        {set_header} X-Client-Subject $ssl_client_s_dn;\n"
        if mode == HTTP1:
            tls += '        proxy_set_header Connection "";\n'
        scheme = "grpc" if mode == HTTP2 else "http"
        return _http(mode, listen, " ssl", place.origin(mode), scheme, tls)


def _http(mode: str, listen: int, tls: str, to: str, scheme: str, more: str) -> str:
    upstream = f"up_{mode}"
    h2 = " http2" if mode == HTTP2 else ""
    passes = "grpc_pass" if mode == HTTP2 else "proxy_pass"
    streams = "        http2_max_concurrent_streams 256;\n" if mode == HTTP2 else ""
    return f"""    upstream {upstream} {{
        server {to};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen 127.0.0.1:{listen}{tls}{h2} reuseport backlog=4096;
{streams}{more}        location / {{ {passes} {scheme}://{upstream}; }}
    }}
"""


def peers() -> list[Peer]:
    return [
        Nginx("nginx-http", (HTTP1, HTTP2)),
        Nginx("nginx-stream", (TCP,)),
        Nginx("nginx-stream-resumed", (TCP,), resume=True, only=("connect-tcp",)),
    ]
