-- no-transaction
--
-- Of a record's sources the first 64 count, each once, cut to 256 bytes, none empty. The core writes no others any
-- more; here those go that were written before. They stay in the payload.
--
-- `pancake_webhook_event` is written to all the time, so this is done in batches, each of them committed. A run that
-- broke off begins anew, and finds nothing to do where it was.

do $$
declare
    batch uuid[];
    after uuid := '00000000-0000-0000-0000-000000000000';
begin
    loop
        batch := array(
            select event_id from pancake_webhook_event where event_id > after order by event_id limit 500);
        exit when cardinality(batch) = 0;
        update pancake_webhook_event as e set source_ids = counting.source_ids
        from (
            select event_id, array(
                select source from (
                    select case when octet_length(named) <= 256 then named else (
                               select left(named, max(length)) from generate_series(64, 256) as length
                               where octet_length(left(named, length)) <= 256) end as source,
                           place
                    from unnest(source_ids[1:64]) with ordinality as n (named, place)) as cut
                where source <> '' group by source order by min(place)) as source_ids
            from pancake_webhook_event where event_id = any (batch)) as counting
        where e.event_id = counting.event_id and e.source_ids is distinct from counting.source_ids;
        after := batch[cardinality(batch)];
        commit;
    end loop;
end
$$;

-- next step
comment on column pancake_webhook_event.source_ids is
    'Those that count of the ids in the payload''s "source": of the first 64 each once, cut to 256 bytes, none empty.';

-- next step
comment on column pancake_webhook_event.received_at is
    'By the core''s clock, before the commit; of what waited at the edge by the edge''s, when it came there.';
