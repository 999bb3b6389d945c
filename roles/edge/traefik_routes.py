"""The rows of the table as routers, services and middlewares in Traefik's file of routes."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from roles.edge.nginx import INSIDE, MINIO_AUTHORITY, certificates, file_of, user_files, who
from roles.edge.routes import ACME, API, CONSOLE, certificate, dashboard, dashboard_port, encrypted, target_port
from roles.minio.tls import scheme

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Acme, Edge, Route
    from roles.minio.settings import Minio
    from roles.settings.model import Settings

Parts = dict[str, dict[str, Any]]
DASHBOARD, DATABASE = "dashboard", "database"
NOBODY = "255.255.255.255/32"


class _Whole(yaml.SafeDumper):
    """Repeats equal values instead of YAML references, which are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def config(host: Host[Settings], edge: Edge, users: dict[str, str]) -> str:
    """The whole file; `users` are the hashes of the password files, so that a changed password changes the configuration."""
    made = _Table(host, edge, users)
    text = yaml.dump(made.tree(), Dumper=_Whole, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by Stowage for {host.name}; change edge.routes in the inventory.\n{text}"


def marker(text: str) -> str:
    """A name that only this version of the file has: a Traefik that reports it has loaded this file."""
    return next(line.strip(" :") for line in text.splitlines() if line.strip().startswith("is-"))


def resolver(acme: Acme) -> str:
    """The name under which Traefik keeps what an authority signs, so that another authority is asked for all of it at once."""
    return re.sub(r"[^a-z0-9]+", "-", acme.directory.partition("://")[2].lower()).strip("-")


class _Table:
    def __init__(self, host: Host[Settings], edge: Edge, users: dict[str, str]) -> None:
        self.host, self.edge, self.users = host, edge, users
        self.routers: dict[str, Any] = {}
        self.services: dict[str, Any] = {}
        self.middlewares: dict[str, Any] = {}
        self.tcp: Parts = {}

    def tree(self) -> dict[str, Any]:
        for row in self.edge.routes:
            self._tcp(row) if row.tcp else self._http(row)
        if name := dashboard(self.edge):
            self._dashboard(name)
        http = {"routers": self.routers, "services": self.services, "middlewares": self.middlewares}
        tree: dict[str, Any] = {"http": http, **({"tcp": self.tcp} if self.tcp else {})}
        minio = self.host.settings.minio
        if minio and scheme(minio) == "https":
            trust = {"rootCAs": [f"{INSIDE}/{MINIO_AUTHORITY}"], "serverName": minio.nodes[0].name}
            http["serversTransports"] = {"minio": trust}
        if encrypted(self.edge) or self.tcp or dashboard(self.edge):
            files = [f"{INSIDE}/{name}" for name in self._files()]
            own = [{"certFile": f"{name}.crt", "keyFile": f"{name}.key"} for name in files]
            # A request for an unknown name gets no certificate.
            options: dict[str, Any] = {"default": {"minVersion": "VersionTLS12", "sniStrict": True}}
            if any(row.tcp and row.host for row in self.edge.routes):
                # psql 17 and later names its protocol with ALPN, and expects the server to accept it.
                options[DATABASE] = {**options["default"], "alpnProtocols": ["postgresql"]}
            tree["tls"] = {**({"certificates": own} if own else {}), "options": options}
        digest = hashlib.sha256(json.dumps([tree, self.users], sort_keys=True).encode()).hexdigest()[:16]
        self.middlewares[f"is-{digest}"] = {"stripPrefix": {"prefixes": ["/nothing-asks-for-this"]}}
        # Traefik refuses the whole file for a part that is empty.
        return {**tree, "http": {name: part for name, part in http.items() if part}}

    def _files(self) -> list[str]:
        page = [self.edge.tls] if dashboard(self.edge) else []
        signers = [*(certificate(self.edge, row) for row in self.edge.routes), *page]
        own = certificates(self.edge)
        return list(dict.fromkeys(file_of(own, signer) for signer in signers if signer and signer != ACME))

    def _tls(self, row: Route | None = None) -> dict[str, Any]:
        signer = certificate(self.edge, row) if row else self.edge.tls
        asks = {"certResolver": resolver(self.edge.acme)} if signer == ACME and self.edge.acme else {}
        return {"tls": asks} if signer else {}

    def _router(self, name: str, port: int, rule: str, rank: int, service: str, used: list[str], **more: Any) -> None:
        # Names first, then the longest path: Traefik's default, the length of the rule, has another order.
        router = {"entryPoints": [f"p{port}"], "rule": rule, "priority": rank, "service": service, **more}
        self.routers[name] = router | ({"middlewares": used} if used else {})

    def _http(self, row: Route) -> None:
        at = len(self.routers)
        name = f"{row.to.replace(':', '-')}-{row.port}-{at}"
        named, rank = self._named(row), (10_000 if row.host else 10) + 2 * len(row.path or "")
        tls, used = self._tls(row), self._used(row)
        if to := target_port(row):
            self.middlewares[f"tls-{to}"] = {"redirectScheme": {"scheme": "https", "port": str(to), "permanent": True}}
            used = [f"tls-{to}"]
        if row.to == API:
            admin = "PathPrefix(`/minio/`) && !PathPrefix(`/minio/health/`)"
            self.middlewares["nobody"] = {"ipAllowList": {"sourceRange": [NOBODY]}}
            quiet = {"observability": {"accessLogs": False}}
            self._router(
                f"{name}-admin", row.port, _all(named, admin), rank + 5000, self._service(row), ["nobody"], **tls
            )
            self._router(name, row.port, _all(named, "PathPrefix(`/`)"), rank, self._service(row), used, **tls, **quiet)
            return
        if row.path:
            beneath = f"(Path(`{row.path}`) || PathPrefix(`{row.path}/`))"
            if row.strip_path or row.to == CONSOLE:
                slash = f"{name}-slash"
                self.middlewares[slash] = {
                    "redirectRegex": {
                        "regex": f"^(https?://[^/]+{row.path.replace('.', '[.]').replace('+', '[+]')})(\\?.*)?$",
                        "replacement": "${1}/${2}",
                    }
                }
                self.middlewares[f"{name}-strip"] = {"stripPrefix": {"prefixes": [row.path]}}
                used = [slash, *used, f"{name}-strip"]
        else:
            beneath = "PathPrefix(`/`)"
        self._router(name, row.port, _all(named, beneath), rank, self._service(row), used, **tls)

    def _named(self, row: Route) -> str:
        """The part of a rule that matches the name."""
        if not row.host:
            return ""
        minio = self.host.settings.minio
        domain = minio.environment.get("MINIO_DOMAIN", "") if minio and row.to == API else ""
        buckets = f" || HostRegexp(`^.+\\.{domain.replace('.', chr(92) + '.')}$`)" if domain else ""
        return f"(Host(`{row.host}`){buckets})" if buckets else f"Host(`{row.host}`)"

    def _used(self, row: Route) -> list[str]:
        if not row.auth:
            return []
        file = user_files(self.edge)[who(self.edge, row)]
        name = f"{file}-{self.users[file]}"
        # The service has no such user, and may take the header for a login of its own.
        login = {"usersFile": f"{INSIDE}/{file}", "removeHeader": True, "realm": row.host or "restricted"}
        self.middlewares[name] = {"basicAuth": login}
        return [name]

    def _service(self, row: Route) -> str:
        minio = self.host.settings.minio
        if target_port(row):
            return "noop@internal"
        if row.to in (API, CONSOLE) and minio:
            return self._nodes(row, minio)
        name = row.to.replace(":", "-")
        self.services[name] = {"loadBalancer": {"servers": [{"url": f"http://{row.to}"}]}}
        return name

    def _nodes(self, row: Route, minio: Minio) -> str:
        port, how = (9000, scheme(minio)) if row.to == API else (9001, scheme(minio))
        name = f"{row.to}-sticky" if row.sticky else row.to
        balanced: dict[str, Any] = {"servers": [{"url": f"{how}://{node.address}:{port}"} for node in minio.nodes]}
        if row.to == API and len(minio.nodes) > 1:
            balanced["healthCheck"] = {"path": "/minio/health/live", "interval": "2s", "timeout": "2s"}
        if row.sticky and len(minio.nodes) > 1:
            balanced["sticky"] = {"cookie": {"name": "stowage-node", "httpOnly": True}}
        if how == "https":
            balanced["serversTransport"] = "minio"
        self.services[name] = {"loadBalancer": balanced}
        return name

    def _tcp(self, row: Route) -> None:
        name = f"{row.to.replace(':', '-')}-{row.port}"
        tls = self._tls(row)
        rule = f"HostSNI(`{row.host}`)" if tls else "HostSNI(`*`)"
        if tls:
            tls["tls"]["options"] = DATABASE
        router = {"entryPoints": [f"p{row.port}"], "rule": rule, "service": name, **tls}
        self.tcp.setdefault("routers", {})[name] = router
        self.tcp.setdefault("services", {})[name] = {"loadBalancer": {"servers": [{"address": row.to}]}}

    def _dashboard(self, name: str) -> None:
        files = user_files(self.edge)
        everybody = tuple(sorted(self.edge.users))
        file = files[everybody]
        self.middlewares[DASHBOARD] = {
            "basicAuth": {"usersFile": f"{INSIDE}/{file}", "removeHeader": True, "realm": name}
        }
        self.middlewares[f"{DASHBOARD}-at"] = {
            "redirectRegex": {"regex": "^(https?://[^/]+)/?$", "replacement": "${1}/dashboard/"}
        }
        port = dashboard_port(self.edge)
        used = [f"{DASHBOARD}-{self.users[file]}", f"{DASHBOARD}-at"]
        self.middlewares[used[0]] = self.middlewares.pop(DASHBOARD)
        self._router(DASHBOARD, port, f"Host(`{name}`)", 10_000, "api@internal", used, **self._tls())


def _all(*parts: str) -> str:
    return " && ".join(part for part in parts if part)
