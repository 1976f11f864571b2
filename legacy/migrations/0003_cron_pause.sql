-- Whether cron triggers are fired. It stands in a schema of its own, so that `public` holds exactly the tables
-- that are migrated away from here.
create schema cron_scheduler;

create table cron_scheduler.state (
    -- There is one.
    one        boolean     primary key default true check (one),
    paused     boolean     not null default false,
    reason     text        not null default '',
    changed_at timestamptz not null default now()
);
insert into cron_scheduler.state default values;
