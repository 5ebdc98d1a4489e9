import importlib
from typing import Any

from django.db import migrations, models

# Its name begins with a digit, so no `import` statement can name it.
indexes: Any = importlib.import_module("messaging.migrations.0007_indexes_of_lists")


class Migration(migrations.Migration):
    atomic = False

    dependencies = (("messaging", "0009_abuse"),)

    operations = (
        indexes.AddIndexWhilePeopleWrite(
            "conversation",
            models.Index(
                condition=models.Q(("address", ""), _negated=True),
                fields=["address", "last_message_at"],
                name="conversation_address",
            ),
        ),
    )
