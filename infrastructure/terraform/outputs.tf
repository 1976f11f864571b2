output "address" {
  description = "Where the gateway answers; point your name here."
  value       = aws_lb.public.dns_name
}

output "database" {
  description = "The PostgreSQL server."
  value       = aws_db_instance.main.endpoint
}

output "database_master_secret" {
  description = "The secret with the master's password, for making roles and databases."
  value       = aws_db_instance.main.master_user_secret[0].secret_arn
}

output "secrets" {
  description = "The programs' secrets."
  value       = { for name, secret in aws_secretsmanager_secret.program : name => secret.arn }
}

output "bucket" {
  description = "Where code and artifacts are."
  value       = aws_s3_bucket.functions.bucket
}

output "make_views" {
  description = "Makes the shared stage's views, once the monolith has made its tables."
  value = join(" ", [
    "aws ecs run-task --cluster", aws_ecs_cluster.main.name, "--launch-type FARGATE --task-definition",
    aws_ecs_task_definition.program["shared-views"].family, "--network-configuration",
    "'awsvpcConfiguration={subnets=[${join(",", aws_subnet.private[*].id)}],securityGroups=[${aws_security_group.services.id}]}'",
  ])
}
