variable "name" {
  description = "What everything is called, and the beginning of every name."
  type        = string
  default     = "strangler"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 22 lower-case letters, digits and dashes, beginning with a letter."
  }
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "eu-central-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be the name of a region, such as eu-central-1."
  }
}

variable "zones" {
  description = "How many availability zones are used."
  type        = number
  default     = 3
  validation {
    condition     = var.zones >= 2 && var.zones <= 4
    error_message = "zones must be 2 to 4: databases and brokers stand in at least two."
  }
}

variable "network" {
  description = "The VPC's addresses."
  type        = string
  default     = "10.40.0.0/16"
  validation {
    condition     = can(cidrhost(var.network, 0)) && tonumber(split("/", var.network)[1]) <= 20
    error_message = "network must be a CIDR block of at least a /20."
  }
}

variable "allowed_networks" {
  description = "Who may reach the gateway."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = alltrue([for block in var.allowed_networks : can(cidrhost(block, 0))])
    error_message = "allowed_networks must be CIDR blocks."
  }
}

variable "certificate_arn" {
  description = "The ACM certificate of the public address."
  type        = string
  validation {
    condition     = startswith(var.certificate_arn, "arn:aws")
    error_message = "certificate_arn must be the ARN of a certificate in ACM."
  }
}

variable "image_registry" {
  description = "Where the images are: REGISTRY/gateway, REGISTRY/legacy, and so on."
  type        = string
  validation {
    condition     = length(var.image_registry) > 0 && !endswith(var.image_registry, "/")
    error_message = "image_registry must be such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com/strangler, without a slash at its end."
  }
}

variable "image_tag" {
  description = "The version of the images."
  type        = string
  default     = "0.1.0"
  validation {
    condition     = var.image_tag != "latest"
    error_message = "image_tag must name a version: with latest nobody knows what runs."
  }
}

variable "architecture" {
  description = "What the images were built for."
  type        = string
  default     = "X86_64"
  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "architecture must be X86_64 or ARM64."
  }
}

variable "gateways" {
  description = "How many gateways there are at least and at most."
  type        = object({ least = number, most = number })
  default     = { least = 2, most = 8 }
  validation {
    condition     = var.gateways.least >= 2 && var.gateways.most >= var.gateways.least
    error_message = "gateways.least must be at least 2, and gateways.most no less than that."
  }
}

variable "function_instances" {
  description = "EC2 instances that run functions."
  type        = object({ type = string, least = number, most = number })
  default     = { type = "m7i.large", least = 2, most = 6 }
  validation {
    condition     = var.function_instances.least >= 2 && var.function_instances.most >= var.function_instances.least
    error_message = "function_instances.least must be at least 2, and most no less than that."
  }
}

variable "database" {
  description = "The PostgreSQL server: class, and gigabytes at the start and at most."
  type        = object({ class = string, storage = number, storage_most = number, multi_az = bool })
  default     = { class = "db.m7g.large", storage = 100, storage_most = 1000, multi_az = true }
  validation {
    condition     = var.database.storage >= 20 && var.database.storage_most > var.database.storage
    error_message = "database.storage must be at least 20, and storage_most more than that."
  }
}

variable "wal_keep_mb" {
  description = "How much log a replication slot that has stopped may hold, in MB. What is beyond it loses the slot, not the disk."
  type        = number
  default     = 20480
  validation {
    condition     = var.wal_keep_mb >= 1024
    error_message = "wal_keep_mb must be at least 1024: shorter and every pause of a stream loses its slot."
  }
}

variable "split" {
  description = "Whether the lambda service on a database of its own and the stream that fills it run."
  type        = bool
  default     = false
}

variable "otlp_endpoint" {
  description = "A collector of traces (OTLP over HTTP), or nothing."
  type        = string
  default     = ""
  validation {
    condition     = var.otlp_endpoint == "" || can(regex("^https?://", var.otlp_endpoint))
    error_message = "otlp_endpoint must be an HTTP address."
  }
}

variable "deletion_protection" {
  description = "Whether database and load balancer refuse to be deleted."
  type        = bool
  default     = true
}
