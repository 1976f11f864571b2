# Tasks and services, from the table in programs.tf.
resource "aws_cloudwatch_log_group" "program" {
  for_each          = local.running
  name              = "/${var.name}/${each.key}"
  retention_in_days = 14
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# What ECS itself does for a task: fetch the image, read its secrets, write its log.
resource "aws_iam_role" "execution" {
  for_each           = local.running
  name               = "${var.name}-${each.key}-execution"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  for_each   = local.running
  role       = aws_iam_role.execution[each.key].name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_role_policy" "secrets" {
  for_each = local.running
  role     = aws_iam_role.execution[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = aws_secretsmanager_secret.program[each.value.secret].arn
    }]
  })
}

# The gateway's own: for `aws ecs execute-command`. The others have none, and so no credentials.
resource "aws_iam_role" "gateway" {
  name               = "${var.name}-gateway"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy" "gateway" {
  role = aws_iam_role.gateway.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
      ]
      Resource = "*"
    }]
  })
}

resource "aws_ecs_task_definition" "program" {
  for_each                 = local.running
  family                   = "${var.name}-${each.key}"
  network_mode             = "awsvpc"
  requires_compatibilities = [each.value.functions ? "EC2" : "FARGATE"]
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.execution[each.key].arn
  task_role_arn            = each.key == "gateway" ? aws_iam_role.gateway.arn : null
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }
  dynamic "volume" {
    for_each = each.value.volumes
    content {
      name      = volume.key
      host_path = volume.value.host
    }
  }
  container_definitions = jsonencode([merge(
    {
      name         = each.key
      image        = "${var.image_registry}/${each.value.image}:${var.image_tag}"
      essential    = true
      command      = each.value.command
      user         = "10001:10001"
      stopTimeout  = each.value.stop_after
      portMappings = [{ containerPort = each.value.port, protocol = "tcp" }]
      mountPoints = [
        for name, volume in each.value.volumes : { sourceVolume = name, containerPath = volume.container, readOnly = false }
      ]
      environment = [
        for name, value in merge(
          each.value.environment,
          { for program, variable in local.tracing : variable => var.otlp_endpoint if program == each.key && var.otlp_endpoint != "" },
        ) : { name = name, value = value }
      ]
      secrets = [
        for name, key in each.value.secrets :
        { name = name, valueFrom = "${aws_secretsmanager_secret.program[each.value.secret].arn}:${key}::" }
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = aws_cloudwatch_log_group.program[each.key].name
          awslogs-region        = var.region
          awslogs-stream-prefix = each.key
        }
      }
    },
    # Without Docker's filters, as a user that has no privileges and cannot get any.
    { for key, value in { privileged = true, dockerSecurityOptions = ["no-new-privileges"] } : key => value if each.value.functions },
    {
      for key, value in {
        healthCheck = { command = each.value.probe, interval = 5, timeout = 3, retries = 3, startPeriod = 60 }
      } : key => value if each.value.probe != null
    },
  )])
}

resource "aws_service_discovery_service" "program" {
  for_each = local.running
  name     = each.key
  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.main.id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 5
    }
  }
}

resource "aws_ecs_service" "program" {
  for_each                           = { for name, program in local.running : name => program if program.count != 0 }
  name                               = each.key
  cluster                            = aws_ecs_cluster.main.id
  task_definition                    = aws_ecs_task_definition.program[each.key].arn
  desired_count                      = each.value.count
  scheduling_strategy                = each.value.daemon ? "DAEMON" : "REPLICA"
  launch_type                        = each.value.daemon ? "EC2" : null
  enable_execute_command             = each.key == "gateway"
  deployment_minimum_healthy_percent = each.value.daemon || each.key == "migration" ? 0 : 100
  deployment_maximum_percent         = each.value.daemon || each.key == "migration" ? 100 : 200
  health_check_grace_period_seconds  = each.key == "gateway" ? 30 : null
  dynamic "capacity_provider_strategy" {
    for_each = each.value.daemon ? [] : [each.value.functions ? aws_ecs_capacity_provider.functions.name : "FARGATE"]
    content {
      capacity_provider = capacity_provider_strategy.value
      weight            = 1
    }
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  network_configuration {
    subnets         = aws_subnet.private[*].id
    security_groups = [each.key == "gateway" ? aws_security_group.gateway.id : aws_security_group.services.id]
  }
  service_registries {
    registry_arn = aws_service_discovery_service.program[each.key].arn
  }
  dynamic "load_balancer" {
    for_each = each.key == "gateway" ? [aws_lb_target_group.gateway.arn] : []
    content {
      target_group_arn = load_balancer.value
      container_name   = "gateway"
      container_port   = 8080
    }
  }
  # What the scaler below has set stays.
  lifecycle {
    ignore_changes = [desired_count]
  }
  depends_on = [aws_lb_listener.public, aws_ecs_cluster_capacity_providers.main, aws_secretsmanager_secret_version.program]
}

resource "aws_lb" "public" {
  name                       = var.name
  load_balancer_type         = "application"
  subnets                    = aws_subnet.public[*].id
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  idle_timeout               = 900
}

resource "aws_lb_target_group" "gateway" {
  name                 = "${var.name}-gateway"
  vpc_id               = aws_vpc.main.id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = 8080
  deregistration_delay = 30
  health_check {
    path                = "/readyz"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "public" {
  load_balancer_arn = aws_lb.public.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
}

resource "aws_appautoscaling_target" "gateway" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.program["gateway"].name}"
  min_capacity       = var.gateways.least
  max_capacity       = var.gateways.most
}

resource "aws_appautoscaling_policy" "gateway" {
  name               = "${var.name}-gateway"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.gateway.service_namespace
  scalable_dimension = aws_appautoscaling_target.gateway.scalable_dimension
  resource_id        = aws_appautoscaling_target.gateway.resource_id
  target_tracking_scaling_policy_configuration {
    target_value = 65
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}
