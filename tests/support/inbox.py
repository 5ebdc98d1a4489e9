"""An inbox of five busy days: 300 conversations in many scripts, threads of long messages, and long threads.

Texts are fixed, and times are counted back from now, so tests can name a conversation and its place in a list. The
module `archive` fills a database with far more messages, whose content does not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from uuid import NAMESPACE_URL, UUID, uuid5

CONVERSATIONS = 300
DAYS = 5
RECENT = 60  # short conversations of the last hour

STAFF = {  # full names
    "operator": ("Zoë", "Müller-Lüdenscheidt"),
    "colleague": ("عمر", "حدّاد"),
    "manager": ("花子", "山田"),
    "reader": ("Søren", "Ångström"),
}
# The texts of visitors in short conversations, in turn.
TEXTS = (
    "Grüß Gott, wie komme ich zur Straße am Übersee-Museum?",
    "مرحبا، هل يمكنني تغيير موعد الرحلة 42 إلى يوم الأحد؟",
    "שלום, איפה אוסף הכרטיסים (2 מבוגרים)?",
    "क्या दुकान रविवार को भी खुली रहती है?",
    "ร้านเปิดกี่โมงในวันเสาร์และวันอาทิตย์",
    "営業時間を教えていただけますか。",
    "Is this right? 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "Z̡̛͓̟͉͂̓͝a̷̢͕̒͘l̨͙͔̈́g̡̈́ó̢͚̔ is combining, and so is Tiếng Việt: Chào bạn, cửa hàng ở đâu?",
    "Добрый день! Когда вы работаете?",
    "The confirmation is at https://shop.example/orders/4711?lang=en#state, isn't it?",
)
LINK = "https://shop.example/orders/4711?lang=en#state"
LINES = 40  # of a long message
QUICK_MESSAGES = (
    "Please speak German",
    "Please speak more slowly",
    "I can’t hear you",
    "Please repeat the last point",
    "What does this word mean?",
    "Please show an example",
    "Could you make the text larger?",
    "I have a question",
)


@dataclass
class Thread:
    """A conversation to be created. `texts`: by visitor and staff in turn; all by the visitor if `answered` is False.

    `ended`: minutes ago. `lasted`: minutes. `read`: by staff. `claimed_by`: a user name.
    """

    name: str
    texts: list[str] = field(repr=False)
    ended: float
    lasted: float = 5
    answered: bool = True
    read: bool = True
    claimed_by: str = ""
    closed: bool = False
    blocked: bool = False
    id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.id = conversation(self.name)

    def messages(self) -> Iterator[tuple[float, "Thread", bool, str]]:
        """Yield for each message its age in minutes, this thread, whether staff wrote it, and its text."""
        step = self.lasted / len(self.texts)
        for number, text in enumerate(self.texts):
            yield self.ended + self.lasted - (number + 1) * step, self, self.answered and number % 2 == 1, text


def conversation(name: str) -> UUID:
    """Return the ID of the thread with this name."""
    return uuid5(NAMESPACE_URL, name)


def long_message(topic: str) -> str:
    """Return 2,000 characters in many lines, of which a phone has to wrap some."""
    lines = [f"{topic}, line {number}: " + "and so on " * (number % 9) for number in range(1, LINES)]
    return "\n".join(lines)[:1999].rstrip().ljust(2000, ".")


# Unread conversations that are older than the newest messages of all conversations.
FORGOTTEN = Thread(
    "forgotten", ["Bitte rufen Sie mich zurück, es ist dringend!"], ended=600, answered=False, read=False
)
FORGOTTEN_OF_MINE = Thread(
    "forgotten of mine", ["Hello?", "I am looking into it.", "Any news about my broken lock?"], ended=700, read=False,
    claimed_by="operator",
)  # fmt: skip
LONG_TEXTS = Thread(
    "long texts",
    [*(long_message(f"Report {number}") for number in range(1, 8)), "The cellar is under water, please come at once!"],
    ended=30.5,
    answered=False,
    read=False,
)
LONG_ANSWERS = Thread(
    "long answers",
    [*chain.from_iterable((f"Question {number}?", long_message(f"Answer {number}")) for number in range(1, 8)),
     "And the last one?", "Yes."],
    ended=55.5,
)  # fmt: skip
SHORT_QUESTIONS = Thread(
    "short questions",
    [f"{text} {number} – I would like to know before I come to you with the whole family." for number, text in
     enumerate(["Do you have parking", "Is there a lift", "May dogs come in", "Can I pay by card", "Is it open late"])]
    + ["My child has swallowed a button battery, what do I do?"],
    ended=20.5,
    answered=False,
    read=False,
)  # fmt: skip
LONG_THREAD = Thread(
    "long thread", [f"Number {number} of a long talk" for number in range(1, 141)], ended=800, lasted=600
)
CLOSED = Thread("closed", ["Thanks, all is well now.", "Good to hear!"], ended=400, closed=True)
BLOCKED = Thread("blocked", ["Buy cheap watches!!!"], ended=500, answered=False, blocked=True)
NAMED = (FORGOTTEN, FORGOTTEN_OF_MINE, LONG_TEXTS, LONG_ANSWERS, SHORT_QUESTIONS, LONG_THREAD, CLOSED, BLOCKED)


def threads() -> list[Thread]:
    """Return all conversations, beginning with those that tests name."""
    short = []
    for number in range(CONVERSATIONS - len(NAMED)):
        text = TEXTS[number % len(TEXTS)]
        is_recent = number < RECENT
        short.append(
            Thread(
                f"visitor {number}",
                [text, "One moment, please.", text, "Done."] if number % 3 else [text],
                ended=1 + number if is_recent else 900 + (number - RECENT) * (DAYS * 24 * 60 - 900) / CONVERSATIONS,
                read=number % 10 != 3,
                claimed_by=("operator", "colleague", "manager", "")[number % 4] if is_recent else "",
                closed=not is_recent and number % 2 == 0,
                blocked=number % 97 == 96,
            )
        )
    return [*NAMED, *short]


def unread() -> list[Thread]:
    """Return the conversations with messages of visitors that staff have not read."""
    return [thread for thread in threads() if not thread.read]


def fill() -> None:
    """Fill the database of Django's settings, which has STAFF and no message yet."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from messaging.models import Block, Conversation, Message, QuickMessage, uuid7

    now = timezone.now()
    users = {user.username: user for user in User.objects.all()}
    for username, (first_name, last_name) in STAFF.items():
        User.objects.filter(username=username).update(first_name=first_name, last_name=last_name)
    everything = threads()
    said = sorted(chain.from_iterable(thread.messages() for thread in everything), key=lambda one: -one[0])
    last: dict[UUID, int] = {}  # number of a conversation's newest message
    messages = []
    for seq, (minutes, thread, is_staffs, text) in enumerate(said, 1):
        last[thread.id] = seq
        messages.append(
            Message(
                seq=seq,
                id=uuid7(),
                conversation_id=thread.id,
                principal=f"staff:{users['operator'].pk}" if is_staffs else f"visitor:{thread.id}",
                client_id=f"message-{seq}",
                sender="admin" if is_staffs else "user",
                author=" ".join(STAFF[thread.claimed_by or "operator"]) if is_staffs else "",
                content=text,
                created_at=now - timedelta(minutes=minutes),
            )
        )
    Conversation.objects.bulk_create(
        Conversation(
            id=thread.id,
            created_at=now - timedelta(minutes=thread.ended + thread.lasted),
            last_message_at=now - timedelta(minutes=thread.ended),
            changed_at=now - timedelta(minutes=thread.ended),
            closed_at=now - timedelta(minutes=thread.ended) if thread.closed else None,
            claimed_by=users.get(thread.claimed_by),
            claimed_until=now + timedelta(days=1) if thread.claimed_by else None,
            read_by_staff=last[thread.id] if thread.read else 0,
            read_by_visitor=last[thread.id],
        )
        for thread in everything
    )
    Message.objects.bulk_create(messages)
    Block.objects.bulk_create(Block(conversation_id=thread.id) for thread in everything if thread.blocked)
    QuickMessage.objects.all().delete()
    QuickMessage.objects.bulk_create(
        QuickMessage(key=f"quick-{number}", label=label, content=label, position=number)
        for number, label in enumerate(QUICK_MESSAGES)
    )
