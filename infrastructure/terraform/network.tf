# Public subnets hold the load balancer and the ways out, private ones everything else.
data "aws_availability_zones" "here" {
  state = "available"
}

locals {
  zones = slice(data.aws_availability_zones.here.names, 0, var.zones)
}

resource "aws_vpc" "main" {
  cidr_block           = var.network
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_subnet" "public" {
  count             = var.zones
  vpc_id            = aws_vpc.main.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.network, 4, count.index)
  tags              = { Name = "${var.name}-public-${local.zones[count.index]}" }
}

resource "aws_subnet" "private" {
  count             = var.zones
  vpc_id            = aws_vpc.main.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.network, 4, count.index + 8)
  tags              = { Name = "${var.name}-private-${local.zones[count.index]}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }
}

resource "aws_route_table_association" "public" {
  count          = var.zones
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  count  = var.zones
  domain = "vpc"
}

resource "aws_nat_gateway" "main" {
  count         = var.zones
  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[count.index].id
  depends_on    = [aws_internet_gateway.main]
}

resource "aws_route_table" "private" {
  count  = var.zones
  vpc_id = aws_vpc.main.id
  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.main[count.index].id
  }
}

resource "aws_route_table_association" "private" {
  count          = var.zones
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

# Packages and images are the most of what leaves: not by way of the NAT.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = aws_route_table.private[*].id
}

resource "aws_security_group" "balancer" {
  name   = "${var.name}-balancer"
  vpc_id = aws_vpc.main.id
}

resource "aws_security_group" "gateway" {
  name   = "${var.name}-gateway"
  vpc_id = aws_vpc.main.id
}

resource "aws_security_group" "services" {
  name   = "${var.name}-services"
  vpc_id = aws_vpc.main.id
}

resource "aws_security_group" "servers" {
  name   = "${var.name}-servers"
  vpc_id = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "public" {
  for_each          = toset(var.allowed_networks)
  security_group_id = aws_security_group.balancer.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

locals {
  # Who may reach whom, at which port.
  ways = {
    balancer-gateway  = { from = aws_security_group.balancer.id, to = aws_security_group.gateway.id, port = 8080 }
    services-gateway  = { from = aws_security_group.services.id, to = aws_security_group.gateway.id, port = 8080 }
    gateway-services  = { from = aws_security_group.gateway.id, to = aws_security_group.services.id, port = 8080 }
    gateway-postgres  = { from = aws_security_group.gateway.id, to = aws_security_group.servers.id, port = 5432 }
    services-postgres = { from = aws_security_group.services.id, to = aws_security_group.servers.id, port = 5432 }
    gateway-redis     = { from = aws_security_group.gateway.id, to = aws_security_group.servers.id, port = 6379 }
    services-rabbitmq = { from = aws_security_group.services.id, to = aws_security_group.servers.id, port = 5671 }
  }
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each                     = local.ways
  security_group_id            = each.value.to
  referenced_security_group_id = each.value.from
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "out" {
  for_each = {
    balancer = aws_security_group.balancer.id
    gateway  = aws_security_group.gateway.id
    services = aws_security_group.services.id
  }
  security_group_id = each.value
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}
