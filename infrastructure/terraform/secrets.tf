# One secret for each program, whose keys its task definition names. Values are in Terraform's state as well: keep that
# encrypted and closed.
resource "random_password" "database" {
  for_each = toset(["legacy", "lambda", "build", "gateway", "migration"])
  length   = 48
  special  = false
}

resource "random_password" "token" {
  for_each = toset(["admin", "view", "dry-run"])
  length   = 48
  special  = false
}

# Standard Webhooks: `whsec_` and 32 bytes in base64.
resource "random_bytes" "signing" {
  for_each = toset(["builds", "webhooks"])
  length   = 32
}

locals {
  rabbitmq_host = replace(replace(aws_mq_broker.main.instances[0].endpoints[0], "amqps://", ""), ":5671", "")
  rabbitmq_url  = "amqps://${var.name}:${random_password.rabbitmq.result}@${local.rabbitmq_host}:5671/%2f"
  redis_url     = "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.main.primary_endpoint_address}:6379/0"

  # Encrypted, and not checked against Amazon's own authority, which is in no common list: see ../README.md.
  database_url = { for pair in [
    { name = "legacy", role = "legacy", database = "mini_lambda" },
    { name = "lambda", role = "lambda", database = "mini_lambda" },
    { name = "lambda_own", role = "lambda", database = "lambda_service_db" },
    { name = "build", role = "build", database = "build_service_db" },
    { name = "gateway", role = "gateway", database = "strangler" },
    { name = "source", role = "migration", database = "mini_lambda" },
    { name = "target", role = "migration", database = "lambda_service_db" },
  ] : pair.name => "postgres://${pair.role}:${random_password.database[pair.role].result}@${aws_db_instance.main.endpoint}/${pair.database}?sslmode=require" }

  objects = {
    access_key = aws_iam_access_key.functions.id
    secret_key = aws_iam_access_key.functions.secret
  }

  secrets = {
    gateway = {
      database_url = local.database_url["gateway"]
      redis_url    = local.redis_url
      admin_token  = random_password.token["admin"].result
      view_token   = random_password.token["view"].result
      dry_run      = random_password.token["dry-run"].result
    }
    legacy = merge(local.objects, {
      database_url = local.database_url["legacy"]
      rabbitmq_url = local.rabbitmq_url
    })
    lambda-service = merge(local.objects, {
      database_url     = local.database_url["lambda"]
      own_database_url = local.database_url["lambda_own"]
      rabbitmq_url     = local.rabbitmq_url
      dry_run          = random_password.token["dry-run"].result
      builds           = "whsec_${random_bytes.signing["builds"].base64}"
    })
    build-service = merge(local.objects, {
      database_url = local.database_url["build"]
      rabbitmq_url = local.rabbitmq_url
      builds       = "whsec_${random_bytes.signing["builds"].base64}"
      webhooks     = "whsec_${random_bytes.signing["webhooks"].base64}"
    })
    migration = {
      monolith_url = local.database_url["legacy"]
      source_url   = local.database_url["source"]
      target_url   = local.database_url["target"]
    }
  }
}

resource "aws_secretsmanager_secret" "program" {
  for_each    = toset(keys(local.secrets))
  name_prefix = "${var.name}/${each.key}-"
}

resource "aws_secretsmanager_secret_version" "program" {
  for_each      = local.secrets
  secret_id     = aws_secretsmanager_secret.program[each.key].id
  secret_string = jsonencode(each.value)
}
