//! The examples as programs, with a sandbox of the test.

mod agent;
mod agentkit;
mod aws_lambda;
mod bring_your_own_auth;
mod call_api;
mod grpc_service;
mod headers;
mod hyper_service;
mod mcp;
mod passwordless;
mod postgres;
mod prometheus;
mod quick_start;
mod redis;
mod running;
mod sandbox;
mod secrets;
mod settings;
mod setup;
mod sso;
mod sub_path;
mod visitor;
mod watched;

#[allow(dead_code, reason = "each test uses its part")]
#[path = "../suite/secrets/noted.rs"]
mod noted;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../browser/processes.rs"]
mod processes;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../suite/redis/server.rs"]
mod redis_server;
