//! What is allowed, and what is refused for want of a right.

use std::io;

use http::Method;

use super::calls::{self, Rpc, Told};
use super::report::Report;
use super::stage::Stage;

pub(super) async fn allowed(stage: &Stage, report: &mut Report) -> io::Result<()> {
    report.group("Allowed: shop may do all this")?;
    let told = |name, through, judge| Told { name, through, reason: "allowed", judge };
    let sidecars = &stage.sidecars;

    let get = told("HTTP  GET /orders/17", "SHOP_ORDERS", &sidecars.orders);
    report.add(calls::http(stage, get, (Method::GET, "/orders/17", ""), 200).await)?;
    let post = told("HTTP  POST /orders, with a body", "SHOP_ORDERS", &sidecars.orders);
    let body = "{\"item\":\"lamp\"}";
    report.add(calls::http(stage, post, (Method::POST, "/orders", body), 201).await)?;

    let balance = told("gRPC  Ledger/Balance", "SHOP_LEDGER", &sidecars.ledger);
    report.add(calls::grpc(stage, balance, Rpc::Balance, "OK, 4200 cents").await)?;
    let watch = told("gRPC  Ledger/Watch, a stream back", "SHOP_LEDGER", &sidecars.ledger);
    let streamed = "5 messages, trailer sum 1500";
    report.add(calls::grpc(stage, watch, Rpc::Watch, streamed).await)?;
    let post = told("gRPC  Ledger/Post, streams both ways", "SHOP_LEDGER", &sidecars.ledger);
    let streamed = "3 messages, trailer sum 600";
    report.add(calls::grpc(stage, post, Rpc::Post, streamed).await)?;

    let cache = told("TCP   lines, then half a close", "SHOP_CACHE", &sidecars.cache);
    let said = "SET color blue\nGET color\n";
    report.add(calls::tcp(stage, cache, said, "OK\nblue\nBYE\n").await)
}

pub(super) async fn refused(stage: &Stage, report: &mut Report) -> io::Result<()> {
    report.group("Refused: known, but not entitled (no application is reached)")?;
    let sidecars = &stage.sidecars;
    let get = (Method::GET, "/orders/17", "");

    let told = Told {
        name: "reports  GET /orders/17",
        through: "REPORTS_ORDERS",
        reason: "insufficient_scope",
        judge: &sidecars.orders,
    };
    report.add(calls::http(stage, told, get.clone(), 403).await)?;
    let told = Told { name: "reports  Ledger/Post", through: "REPORTS_LEDGER", ..told };
    let told = Told { judge: &sidecars.ledger, ..told };
    let status = "status 7 insufficient_scope";
    report.add(calls::grpc(stage, told, Rpc::Post, status).await)?;
    let told = Told { name: "reports  TCP to cache", through: "REPORTS_CACHE", ..told };
    let told = Told { judge: &sidecars.cache, ..told };
    report.add(calls::tcp(stage, told, "GET color\n", "").await)?;

    let told = Told {
        name: "intruder GET /orders/17",
        through: "INTRUDER_ORDERS",
        reason: "tenant_mismatch",
        judge: &sidecars.orders,
    };
    report.add(calls::http(stage, told, get, 403).await)?;
    let told = Told {
        name: "shop     GET /admin, not declared",
        through: "SHOP_ORDERS",
        reason: "no_route",
        judge: &sidecars.orders,
    };
    report.add(calls::http(stage, told, (Method::GET, "/admin", ""), 403).await)?;
    let told = Told { name: "shop     GET /orders/..%2fadmin", reason: "bad_request", ..told };
    report.add(calls::http(stage, told, (Method::GET, "/orders/..%2fadmin", ""), 400).await)
}
