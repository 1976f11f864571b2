# Where it runs. The gateway and the migration are on Fargate. Whatever runs functions is on EC2 instances of its own:
# the sandbox makes user namespaces and mounts /proc, for which a container must be without Docker's filters, and Fargate
# lets no container be so (see "What the sandbox needs" in ../README.md).
resource "aws_ecs_cluster" "main" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_service_discovery_private_dns_namespace" "main" {
  name = "${var.name}.internal"
  vpc  = aws_vpc.main.id
}

data "aws_ssm_parameter" "machine" {
  name = "/aws/service/ecs/optimized-ami/amazon-linux-2023/${var.architecture == "ARM64" ? "arm64/" : ""}recommended/image_id"
}

resource "aws_iam_role" "machine" {
  name = "${var.name}-machine"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "machine" {
  role       = aws_iam_role.machine.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "machine" {
  name = "${var.name}-machine"
  role = aws_iam_role.machine.name
}

resource "aws_launch_template" "functions" {
  name_prefix            = "${var.name}-functions-"
  image_id               = data.aws_ssm_parameter.machine.value
  instance_type          = var.function_instances.type
  vpc_security_group_ids = [aws_security_group.services.id]
  iam_instance_profile {
    arn = aws_iam_instance_profile.machine.arn
  }
  # Functions have no network; whatever leaves a container all the same may not ask for the machine's role.
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size = 60
      volume_type = "gp3"
      encrypted   = true
    }
  }
  user_data = base64encode(<<-END
    #!/bin/sh
    echo ECS_CLUSTER=${var.name} >> /etc/ecs/ecs.config
    sysctl -w user.max_user_namespaces=65536
    install -d -o 10001 -g 10001 /var/lib/lambda-service /var/lib/lambda-service-own
  END
  )
}

resource "aws_autoscaling_group" "functions" {
  name_prefix           = "${var.name}-functions-"
  min_size              = var.function_instances.least
  max_size              = var.function_instances.most
  vpc_zone_identifier   = aws_subnet.private[*].id
  protect_from_scale_in = true
  launch_template {
    id      = aws_launch_template.functions.id
    version = aws_launch_template.functions.latest_version
  }
  tag {
    key                 = "AmazonECSManaged"
    value               = "true"
    propagate_at_launch = true
  }
}

resource "aws_ecs_capacity_provider" "functions" {
  name = "${var.name}-functions"
  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.functions.arn
    managed_termination_protection = "ENABLED"
    managed_draining               = "ENABLED"
    managed_scaling {
      status          = "ENABLED"
      target_capacity = 90
    }
  }
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = ["FARGATE", aws_ecs_capacity_provider.functions.name]
}
