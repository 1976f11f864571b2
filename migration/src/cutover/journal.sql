-- Attempts to give a slice another owner, in the candidate's database. At most one of a slice is not ended.
create schema if not exists strangler;

create table if not exists strangler.cutover (
    id         bigint generated always as identity primary key,
    slice      text not null,
    -- forward: to the candidate; reverse: to the monolith.
    direction  text not null check (direction in ('forward', 'reverse')),
    -- Of the fence.
    token      text not null,
    step       text not null check (step in ('hooks', 'held', 'deciding', 'decided', 'done', 'undone')),
    -- Why it was undone, or what is known besides.
    reason     text,
    -- The revision of the rollout that has the new owner.
    revision   bigint,
    held_ms    double precision,
    begun_at   timestamptz not null default clock_timestamp(),
    ended_at   timestamptz,
    check ((ended_at is not null) = (step in ('done', 'undone')))
);

create unique index if not exists cutover_under_way on strangler.cutover (slice) where ended_at is null;

create or replace function strangler.cutover_goes_forward() returns trigger
    language plpgsql set search_path = pg_catalog as
$$
begin
    if old.ended_at is not null or array_position(array['hooks', 'held', 'deciding', 'decided', 'done', 'undone'], new.step)
        < array_position(array['hooks', 'held', 'deciding', 'decided', 'done', 'undone'], old.step)
        or (old.step = 'decided' and new.step = 'undone') then
        raise exception 'attempt % cannot go from % to %', old.id, old.step, new.step
            using errcode = 'integrity_constraint_violation';
    end if;
    return new;
end
$$;

do
$$
begin
    if not exists (select from pg_trigger where tgrelid = 'strangler.cutover'::regclass and tgname = 'goes_forward') then
        create trigger goes_forward before update on strangler.cutover
            for each row execute function strangler.cutover_goes_forward();
    end if;
end
$$;
