use std::time::Duration;

use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn each_test_has_a_database_of_its_own_that_is_dropped() {
    let (one, two) = tokio::join!(testkit::postgres(), testkit::postgres());
    assert_ne!(one.name, two.name);
    let pool = one.pool().await;
    sqlx::raw_sql("CREATE TABLE only_here ()").execute(&pool).await.expect("a table");
    let mut other = PgConnection::connect(&two.url).await.expect("the second database");
    let seen: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('only_here')::text").fetch_one(&mut other).await.expect("an answer");
    assert_eq!(seen, None);
    let name = one.name.clone();
    drop(one);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut other)
        .await
        .expect("a count");
    assert_eq!(left, 0, "dropped although a pool is still connected");
}

#[tokio::test]
async fn a_private_server_keeps_its_data_and_port_over_stop_and_kill() {
    let mut server = testkit::PrivatePostgres::start().await;
    let url = server.url("postgres");
    let mut connection = PgConnection::connect(&url).await.expect("a connection");
    sqlx::raw_sql("CREATE TABLE kept ()").execute(&mut connection).await.expect("a table");
    server.stop().await;
    assert!(PgConnection::connect(&url).await.is_err());
    server.start_again().await;
    server.kill().await;
    server.start_again().await;
    let mut connection = PgConnection::connect(&url).await.expect("a connection at the same address");
    sqlx::raw_sql("SELECT FROM kept").execute(&mut connection).await.expect("the table");
}

#[tokio::test]
async fn each_test_has_a_bucket_of_its_own() {
    let (one, two) = tokio::join!(testkit::s3(), testkit::s3());
    assert_ne!(one.bucket, two.bucket);
    let answer = reqwest::get(format!("{}/{}/x", one.endpoint, one.bucket)).await.expect("an answer");
    assert_eq!(answer.status(), reqwest::StatusCode::FORBIDDEN, "an unsigned request");
}

#[tokio::test]
async fn each_test_has_a_virtual_host_of_its_own() {
    let vhost = testkit::rabbitmq().await;
    assert!(vhost.url.starts_with("amqp://testkit:"), "{}", vhost.url);
    let answer = amqp_greeting(&vhost.address).await;
    assert!(answer.is_ok(), "{answer:?}");
}

#[tokio::test]
async fn a_private_broker_stops_answering_when_paused_and_comes_back_after_a_kill() {
    let mut broker = testkit::PrivateRabbitMq::start().await;
    let address = address_of(&broker.url());
    amqp_greeting(&address).await.expect("a broker that runs");
    broker.pause();
    amqp_greeting(&address).await.expect_err("a paused broker");
    broker.resume();
    testkit::eventually(Duration::from_secs(10), || async { amqp_greeting(&address).await.is_ok() }).await;
    broker.kill().await;
    amqp_greeting(&address).await.expect_err("a dead broker");
    broker.start_again().await;
    amqp_greeting(&address).await.expect("the same address");
}

fn address_of(url: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a URL with a password");
    rest.split_once('/').expect("a URL with a virtual host").0.to_owned()
}

/// Offers AMQP 0-9-1 and reads the first byte of the answer.
async fn amqp_greeting(address: &str) -> std::io::Result<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let exchange = async {
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        socket.write_all(b"AMQP\x00\x00\x09\x01").await?;
        socket.read_u8().await
    };
    tokio::time::timeout(Duration::from_secs(1), exchange).await?
}

#[tokio::test]
async fn a_private_redis_stops_answering_when_paused_and_starts_empty_again() {
    let mut redis = testkit::PrivateRedis::start().await;
    let address = redis.address();
    assert_eq!(redis_says(&address, "PING\r\n").await, "-NOAUTH Authentication required.\r\n");
    let password = redis.url().trim_start_matches("redis://:").split('@').next().expect("a password").to_owned();
    let set = format!("AUTH {password}\r\nSET a 1\r\n");
    assert_eq!(redis_says(&address, &set).await, "+OK\r\n+OK\r\n");
    redis.pause();
    let waited = tokio::time::timeout(Duration::from_millis(300), redis_says(&address, "PING\r\n")).await;
    assert!(waited.is_err(), "the kernel accepts, and nobody answers: {waited:?}");
    redis.resume();
    redis.start_again().await;
    let get = format!("AUTH {password}\r\nGET a\r\n");
    assert_eq!(redis_says(&address, &get).await, "+OK\r\n$-1\r\n");
    redis.stop().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}

/// What the server answers to these commands in all.
async fn redis_says(address: &str, commands: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(commands.as_bytes()).await.expect("sent");
    stream.write_all(b"QUIT\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned()
}
