from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Cast, Right


class AddIndexWhilePeopleWrite(migrations.AddIndex):
    """PostgreSQL's other way to make one, which locks nobody out; one that was not finished is made anew."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        schema_editor.add_index(model, self.index, concurrently=True)  # type: ignore[call-arg]


class Migration(migrations.Migration):
    atomic = False

    dependencies = (("messaging", "0006_german_quick_message"),)

    operations = (
        AddIndexWhilePeopleWrite(
            "conversation",
            models.Index(
                fields=["-last_message_at"], condition=models.Q(closed_at__isnull=False), name="conversation_closed"
            ),
        ),
        AddIndexWhilePeopleWrite(
            "conversation", models.Index(Right(Cast("id", models.TextField()), 6), name="conversation_ending")
        ),
        AddIndexWhilePeopleWrite(
            "message",
            models.Index(fields=["quick", "created_at"], condition=~models.Q(quick=""), name="message_by_button"),
        ),
    )
