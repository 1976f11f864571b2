# PostgreSQL, Redis, RabbitMQ, S3.
resource "aws_db_subnet_group" "main" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_db_parameter_group" "main" {
  name   = var.name
  family = "postgres16"

  # Streams of changes. Static ones take a restart.
  parameter {
    name         = "rds.logical_replication"
    value        = "1"
    apply_method = "pending-reboot"
  }
  parameter {
    name         = "max_replication_slots"
    value        = "16"
    apply_method = "pending-reboot"
  }
  parameter {
    name         = "max_wal_senders"
    value        = "16"
    apply_method = "pending-reboot"
  }
  parameter {
    name  = "max_slot_wal_keep_size"
    value = tostring(var.wal_keep_mb)
  }
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

resource "aws_db_instance" "main" {
  identifier                   = var.name
  engine                       = "postgres"
  engine_version               = "16"
  instance_class               = var.database.class
  allocated_storage            = var.database.storage
  max_allocated_storage        = var.database.storage_most
  storage_type                 = "gp3"
  storage_encrypted            = true
  multi_az                     = var.database.multi_az
  db_subnet_group_name         = aws_db_subnet_group.main.name
  parameter_group_name         = aws_db_parameter_group.main.name
  vpc_security_group_ids       = [aws_security_group.servers.id]
  username                     = "postgres"
  manage_master_user_password  = true
  backup_retention_period      = 14
  copy_tags_to_snapshot        = true
  deletion_protection          = var.deletion_protection
  skip_final_snapshot          = !var.deletion_protection
  final_snapshot_identifier    = "${var.name}-final"
  performance_insights_enabled = true
  auto_minor_version_upgrade   = true
}

resource "aws_elasticache_subnet_group" "main" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "random_password" "redis" {
  length  = 48
  special = false
}

# Budgets of limits: none of it is worth a snapshot.
resource "aws_elasticache_replication_group" "main" {
  replication_group_id       = var.name
  description                = "Budgets that the gateways share"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = "cache.t4g.small"
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.main.name
  security_group_ids         = [aws_security_group.servers.id]
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = random_password.redis.result
}

resource "random_password" "rabbitmq" {
  length  = 48
  special = false
}

resource "aws_mq_broker" "main" {
  broker_name                = var.name
  engine_type                = "RabbitMQ"
  engine_version             = "3.13"
  host_instance_type         = "mq.m5.large"
  deployment_mode            = "CLUSTER_MULTI_AZ"
  subnet_ids                 = aws_subnet.private[*].id
  security_groups            = [aws_security_group.servers.id]
  publicly_accessible        = false
  auto_minor_version_upgrade = true
  user {
    username = var.name
    password = random_password.rabbitmq.result
  }
}

resource "aws_s3_bucket" "functions" {
  bucket_prefix = "${var.name}-functions-"
}

resource "aws_s3_bucket_public_access_block" "functions" {
  bucket                  = aws_s3_bucket.functions.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "functions" {
  bucket = aws_s3_bucket.functions.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "functions" {
  bucket = aws_s3_bucket.functions.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "aws:kms"
    }
  }
}

# The services sign with a key of their own; they do not ask the machine for a role.
resource "aws_iam_user" "functions" {
  name = "${var.name}-functions"
}

resource "aws_iam_access_key" "functions" {
  user = aws_iam_user.functions.name
}

resource "aws_iam_user_policy" "functions" {
  user = aws_iam_user.functions.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = aws_s3_bucket.functions.arn },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = "${aws_s3_bucket.functions.arn}/*"
      },
    ]
  })
}
