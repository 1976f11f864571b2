# What runs, with which settings. The variables are those of the programs; `cargo xtask ci --only packaging` holds every
# name against their settings.
locals {
  objects_environment = {
    legacy         = { LEGACY__OBJECTS__REGION = var.region, LEGACY__OBJECTS__BUCKET = aws_s3_bucket.functions.bucket }
    lambda-service = { LAMBDA_SERVICE__OBJECTS__REGION = var.region, LAMBDA_SERVICE__OBJECTS__BUCKET = aws_s3_bucket.functions.bucket }
    build-service  = { BUILD_SERVICE__OBJECTS__REGION = var.region, BUILD_SERVICE__OBJECTS__BUCKET = aws_s3_bucket.functions.bucket }
  }

  domain = aws_service_discovery_private_dns_namespace.main.name

  programs = {
    # The admin API stays on loopback: `aws ecs execute-command … --command "strangler status"`. A collector of metrics
    # goes into the same task.
    gateway = {
      image      = "gateway"
      functions  = false
      daemon     = false
      count      = var.gateways.least
      port       = 8080
      cpu        = 1024
      memory     = 2048
      command    = []
      probe      = ["CMD", "/usr/local/bin/gateway", "--config", "/etc/strangler/gateway.toml", "--probe"]
      secret     = "gateway"
      enabled    = true
      volumes    = {}
      stop_after = 45
      environment = {
        GATEWAY__ADMIN__BIND                    = "127.0.0.1:9090"
        GATEWAY__ROLLOUT__STORE                 = "postgres"
        GATEWAY__SHADOW__MISMATCHES__STORE      = "postgres"
        GATEWAY__LIMITS__STORE                  = "redis"
        GATEWAY__LIMITS__REDIS__GATEWAYS        = tostring(var.gateways.least)
        GATEWAY__HTTP__TRUSTED_PROXIES          = jsonencode([var.network])
        GATEWAY__UPSTREAMS__LEGACY__ADDRESS     = "legacy.${local.domain}:8080"
        GATEWAY__UPSTREAMS__LAMBDA__ADDRESS     = "lambda-service.${local.domain}:8080"
        GATEWAY__UPSTREAMS__LAMBDA_OWN__ADDRESS = "lambda-service-own.${local.domain}:8080"
        GATEWAY__UPSTREAMS__BUILD__ADDRESS      = "build-service.${local.domain}:8080"
        STRANGLER_ADMIN                         = "http://127.0.0.1:9090"
      }
      secrets = {
        GATEWAY__ROLLOUT__POSTGRES__URL = "database_url"
        GATEWAY__LIMITS__REDIS__URL     = "redis_url"
        GATEWAY__ADMIN__TOKEN           = "admin_token"
        GATEWAY__ADMIN__VIEW_TOKEN      = "view_token"
        GATEWAY__SHADOW__DRY_RUN_SECRET = "dry_run"
        STRANGLER_TOKEN                 = "admin_token"
      }
    }

    legacy = {
      image      = "legacy"
      functions  = true
      daemon     = false
      count      = 2
      port       = 8080
      cpu        = 512
      memory     = 1536
      command    = []
      probe      = ["CMD", "/usr/local/bin/legacy", "--probe"]
      secret     = "legacy"
      enabled    = true
      volumes    = {}
      stop_after = 45
      environment = merge(local.objects_environment["legacy"], {
        LEGACY__BUS__KIND = "rabbitmq"
      })
      secrets = {
        LEGACY__DATABASE__URL       = "database_url"
        LEGACY__BUS__RABBITMQ__URL  = "rabbitmq_url"
        LEGACY__OBJECTS__ACCESS_KEY = "access_key"
        LEGACY__OBJECTS__SECRET_KEY = "secret_key"
      }
    }

    # One on each instance, with its journal on the instance's disk, which outlives the task.
    lambda-service = {
      image      = "lambda-service"
      functions  = true
      daemon     = true
      count      = null
      port       = 8080
      cpu        = 768
      memory     = 3072
      command    = []
      probe      = ["CMD", "/usr/local/bin/lambda-service", "--probe"]
      secret     = "lambda-service"
      enabled    = true
      volumes    = { journal = { host = "/var/lib/lambda-service", container = "/var/lib/lambda-service" } }
      stop_after = 45
      environment = merge(local.objects_environment["lambda-service"], {
        LAMBDA_SERVICE__DATABASE__MIGRATE = "false"
        LAMBDA_SERVICE__EVENTS__QUEUE     = "rabbitmq"
      })
      secrets = {
        LAMBDA_SERVICE__DATABASE__URL         = "database_url"
        LAMBDA_SERVICE__EVENTS__RABBITMQ__URL = "rabbitmq_url"
        LAMBDA_SERVICE__OBJECTS__ACCESS_KEY   = "access_key"
        LAMBDA_SERVICE__OBJECTS__SECRET_KEY   = "secret_key"
        LAMBDA_SERVICE__DRY_RUN__SECRET       = "dry_run"
        LAMBDA_SERVICE__BUILDS__SECRET        = "builds"
      }
    }

    lambda-service-own = {
      image       = "lambda-service"
      functions   = true
      daemon      = true
      count       = null
      port        = 8080
      cpu         = 512
      memory      = 2048
      command     = []
      probe       = ["CMD", "/usr/local/bin/lambda-service", "--probe"]
      secret      = "lambda-service"
      enabled     = var.split
      volumes     = { journal = { host = "/var/lib/lambda-service-own", container = "/var/lib/lambda-service" } }
      stop_after  = 45
      environment = local.objects_environment["lambda-service"]
      secrets = {
        LAMBDA_SERVICE__DATABASE__URL       = "own_database_url"
        LAMBDA_SERVICE__OBJECTS__ACCESS_KEY = "access_key"
        LAMBDA_SERVICE__OBJECTS__SECRET_KEY = "secret_key"
        LAMBDA_SERVICE__BUILDS__SECRET      = "builds"
      }
    }

    build-service = {
      image      = "build-service"
      functions  = true
      daemon     = false
      count      = 2
      port       = 8080
      cpu        = 512
      memory     = 1024
      command    = []
      probe      = ["CMD", "/usr/local/bin/build-service", "--probe"]
      secret     = "build-service"
      enabled    = true
      volumes    = {}
      stop_after = 45
      environment = merge(local.objects_environment["build-service"], {
        BUILD_SERVICE__QUEUE__KIND                                    = "rabbitmq"
        BUILD_SERVICE__WEBHOOKS__ALLOW                                = jsonencode(["gateway.${local.domain}"])
        BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__URL       = "http://gateway.${local.domain}:8080/webhooks/build-status/{job_id}"
        BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__REGISTERS = "true"
      })
      secrets = {
        BUILD_SERVICE__DATABASE__URL                               = "database_url"
        BUILD_SERVICE__QUEUE__RABBITMQ__URL                        = "rabbitmq_url"
        BUILD_SERVICE__OBJECTS__ACCESS_KEY                         = "access_key"
        BUILD_SERVICE__OBJECTS__SECRET_KEY                         = "secret_key"
        BUILD_SERVICE__WEBHOOKS__SECRET                            = "webhooks"
        BUILD_SERVICE__WEBHOOKS__RECEIVERS__LAMBDA_SERVICE__SECRET = "builds"
      }
    }

    # Keeps the slice in step.
    migration = {
      image       = "strangler"
      functions   = false
      daemon      = false
      count       = 1
      port        = 9464
      cpu         = 512
      memory      = 1024
      command     = ["db", "sync", "functions", "--mapping", "/etc/strangler/mapping.toml", "--metrics", "0.0.0.0:9464"]
      probe       = null
      secret      = "migration"
      enabled     = var.split
      volumes     = {}
      stop_after  = 60
      environment = {}
      secrets     = { STRANGLER_DATABASE_URL = "source_url", STRANGLER_TARGET_URL = "target_url" }
    }

    # Run by hand, when the monolith has made its tables: see the output `make_views`.
    shared-views = {
      image       = "strangler"
      functions   = false
      daemon      = false
      count       = 0
      port        = 9464
      cpu         = 256
      memory      = 512
      command     = ["db", "apply", "--mapping", "/etc/strangler/mapping.toml"]
      probe       = null
      secret      = "migration"
      enabled     = true
      volumes     = {}
      stop_after  = 30
      environment = {}
      secrets     = { STRANGLER_DATABASE_URL = "monolith_url" }
    }
  }

  # Traces, where there is a collector.
  tracing = {
    gateway            = "GATEWAY__TELEMETRY__OTLP_ENDPOINT"
    legacy             = "LEGACY__TELEMETRY__OTLP_ENDPOINT"
    lambda-service     = "LAMBDA_SERVICE__TELEMETRY__OTLP_ENDPOINT"
    lambda-service-own = "LAMBDA_SERVICE__TELEMETRY__OTLP_ENDPOINT"
    build-service      = "BUILD_SERVICE__TELEMETRY__OTLP_ENDPOINT"
  }

  running = { for name, program in local.programs : name => program if program.enabled }
}
