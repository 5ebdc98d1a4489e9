"""Filling a new PostgreSQL database in a minute, by set-based SQL, with the uneven distribution of real data.

Most conversations are short, a few have thousands of messages; activity grows towards now, and the last ten minutes
are busy. Nearly everything was read, older conversations were closed, some visitors are blocked.
"""

from dataclasses import dataclass

import psycopg

RARE, COMMON = "nadelstich", "wort7"  # a word of one message, and a word of every fourth
LONG_THREADS = 20  # conversations that share a fiftieth of all messages equally
BUSY_PER_SECOND = 20  # messages in each of the last 600 seconds


@dataclass(frozen=True)
class Size:
    """The numbers of rows to create."""

    messages: int
    conversations: int


MILLION = Size(messages=1_000_000, conversations=100_000)

# The number of messages of each conversation and its beginning: `age` is a fraction of 29 days ago. Rows depend on the
# database's clock and random numbers, so two archives differ.
_CONVERSATIONS = """
CREATE TEMP TABLE thread AS
SELECT n, gen_random_uuid() AS id, power(random(), 1.5) AS age, CASE
    WHEN n <= {long} THEN {messages} / 50 / {long}
    WHEN n <= {conversations} / 100 THEN 60 + (random() * 80)::int
    ELSE 1 + (-ln(1 - random() * 0.999) * {average})::int
END AS size
FROM generate_series(1, {conversations}) AS n
"""
_SENTENCES = """
CREATE TEMP TABLE sentence AS
SELECT n, (
    SELECT string_agg('wort' || floor(5000 * power(random(), 3))::int, ' ') FROM generate_series(1, 3 + n % 12)
) || CASE WHEN n % 4 = 0 THEN ' {common}' ELSE '' END AS content
FROM generate_series(0, 9999) AS n
"""
# Short threads last an hour, or until now; long ones last until now. The last ten minutes are the busiest. No two
# messages have the same time: to sort thousands with the same time, PostgreSQL may read an index to its end.
_PLANNED = """
CREATE TEMP TABLE planned AS
SELECT thread.id AS conversation, k, floor(random() * 10000)::int AS sentence, random() AS dice, CASE
    WHEN n <= {long} THEN now() - make_interval(secs => 2505600 * (1 - (k - random()) / size))
    WHEN n > {conversations} - {busy} * 600 / 2 AND k = size THEN now() - make_interval(secs => 600 * random())
    ELSE now() - make_interval(secs => 2505600 * age - LEAST(3600, 2505600 * age) * (k - random()) / size)
END AS created_at
FROM thread, generate_series(1, size) AS k
"""
_INSERT_CONVERSATIONS = """
INSERT INTO messaging_conversation (id, created_at, last_message_at)
SELECT conversation, min(created_at), max(created_at) FROM planned GROUP BY conversation
"""
# IDs as the product makes them: the time, then random bits. A third of the messages is by staff, a fifth is quick
# messages.
_INSERT_MESSAGES = """
INSERT INTO messaging_message
    (id, conversation_id, principal, client_id, sender, author, quick, content, created_at)
SELECT
    (lpad(to_hex((extract(epoch FROM created_at) * 1000)::bigint), 12, '0') || '7'
        || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid,
    conversation,
    CASE WHEN dice < 0.33 AND k > 1 THEN 'staff:1' ELSE 'visitor:' || conversation END,
    gen_random_uuid(),
    CASE WHEN dice < 0.33 AND k > 1 THEN 'admin' ELSE 'user' END,
    CASE WHEN dice < 0.33 AND k > 1 THEN 'Ada Lovelace' ELSE '' END,
    CASE WHEN dice > 0.8 THEN 'speak-german' ELSE '' END,
    CASE WHEN dice > 0.8 THEN 'speak german' ELSE sentence.content END,
    created_at
FROM planned JOIN sentence ON sentence.n = planned.sentence ORDER BY created_at
"""
_STATES = (
    # Nearly all conversations are read to the end: all that are older than two days, and 70 % of the others.
    """
    UPDATE messaging_conversation AS c SET
        read_by_staff = last.seq, read_by_visitor = last.seq, changed_at = c.last_message_at,
        closed_at = CASE WHEN c.last_message_at < now() - interval '3 days' AND random() < 0.9
            THEN c.last_message_at END
    FROM (SELECT conversation_id, max(seq) AS seq FROM messaging_message GROUP BY 1) AS last
    WHERE last.conversation_id = c.id AND (c.last_message_at < now() - interval '2 days' OR random() < 0.7)
    """,
    """
    INSERT INTO messaging_block (conversation_id, until, created_at)
    SELECT id, last_message_at + interval '1 day', last_message_at FROM messaging_conversation
    WHERE random() < 0.01
    """,
    """
    UPDATE messaging_conversation SET claimed_by_id = 1, claimed_until = now() + interval '1 day'
    WHERE id IN (SELECT id FROM messaging_conversation ORDER BY last_message_at DESC LIMIT 20)
    """,
    """
    UPDATE messaging_message SET content = content || ' {rare}'
    WHERE seq = (SELECT min(seq) + {messages} / 3 FROM messaging_message)
    """,
    """
    INSERT INTO messaging_erasedconversation (id, erased_at)
    SELECT gen_random_uuid(), now() - random() * interval '30 days' FROM generate_series(1, {conversations} / 100)
    """,
)


def fill(database: str, size: Size) -> None:
    """Insert about `size` rows into `database`, a URL, which is migrated and has the staff member 1 and no message.

    Also run VACUUM ANALYZE, as autovacuum would in time, so that statistics are fresh.
    """
    rest = size.messages * 0.98 - size.conversations / 100 * 100
    values = {
        "long": LONG_THREADS,
        "average": rest / size.conversations - 0.8,  # the exponential distribution is truncated and begins at one
        "busy": BUSY_PER_SECOND * size.messages / MILLION.messages,
        "common": COMMON,
        "rare": RARE,
        "messages": size.messages,
        "conversations": size.conversations,
    }
    with psycopg.connect(database, autocommit=True) as connection:
        # The rows are correct by construction, and checks of foreign keys would take as long as all the rest.
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET work_mem = '256MB'")
        statements = (_CONVERSATIONS, _SENTENCES, _PLANNED, _INSERT_CONVERSATIONS, _INSERT_MESSAGES, *_STATES)
        for statement in statements:
            connection.execute(statement.format(**values))
        connection.execute("VACUUM ANALYZE")
