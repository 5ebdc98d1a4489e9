"""The changes that a migration may make while the previous version still runs: docs/migration.md, "Schema changes"."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

APP = "messaging"
# They add something that is not in use yet, or don't change the database. For RunPython, its author is responsible.
HARMLESS = (ops.CreateModel, ops.AddIndex, ops.AlterModelOptions, ops.AlterModelManagers, ops.RunPython)


def contractions(operations: list[Operation], before: ProjectState) -> list[str]:
    """Return descriptions of the `operations` that break the version whose schema is `before`.

    Apply all of them to `before`.
    """
    found = []
    for operation in operations:
        real = getattr(operation, "database_operations", [operation])  # none if only models change
        found += [_described(part) for part in real if not _expands(part, before)]
        operation.state_forwards(APP, before)
    return found


def _described(operation: Operation) -> str:
    return f"{type(operation).__name__}: {operation.describe()}"


def _expands(operation: Operation, before: ProjectState) -> bool:
    match operation:
        case ops.AddField(field=field):
            return field.null or field.db_default is not NOT_PROVIDED or isinstance(field, models.ManyToManyField)
        case ops.AlterField(field=field, model_name_lower=model, name_lower=name):
            return _admits_all_of(field, before.models[APP, model].fields[name])
    return isinstance(operation, HARMLESS)


def _admits_all_of(new: "models.Field[Any, Any]", old: "models.Field[Any, Any]") -> bool:
    """Return whether the column keeps its type and name and accepts all that it accepted.

    It may become longer or nullable, lose its uniqueness, or get a default.
    """
    kind = new.get_internal_type() == old.get_internal_type() and new.db_column == old.db_column
    longer = new.max_length is None or (old.max_length is not None and new.max_length >= old.max_length)
    defaulted = new.db_default is not NOT_PROVIDED or old.db_default is NOT_PROVIDED
    return kind and longer and defaulted and new.null >= old.null and new.unique <= old.unique


def use(model: type[models.Model]) -> None:
    """Write, read, change and delete rows as the version of `model` does: with only the columns that it knows."""
    for fields in (_required(model), model._meta.concrete_fields):
        values = {field.attname: _example(field) for field in fields if not isinstance(field, models.AutoField)}
        row = model._default_manager.create(**values)
        rows = model._default_manager.filter(pk=row.pk)
        assert rows.values("pk", *values).get() == {"pk": row.pk} | values
        assert rows.get() == row
        row.save()
        assert row.delete()[0] == 1


def _required(model: type[models.Model]) -> Iterator["models.Field[Any, Any]"]:
    for field in model._meta.concrete_fields:
        if not (field.null or field.has_default() or field.has_db_default()):
            yield field


def _example(field: "models.Field[Any, Any]") -> object:
    match field:
        case models.ForeignKey(null=True):
            return None
        case models.ForeignKey(related_model=related):
            return related._default_manager.create().pk
        case models.UUIDField():
            return uuid4()
        case models.BooleanField():
            return True
        case models.IntegerField():
            return 1
        case models.DateTimeField():
            return timezone.now()
    return uuid4().hex[: field.max_length]


# A migration that expands the schema, as a release may while the previous version still writes: docs/kubernetes.md.
EXPANDING = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("messaging", {last!r})]
    operations = [
        migrations.AddField("message", "mood", models.CharField(max_length=10, null=True)),
        migrations.AddField("message", "channel", models.CharField(max_length=10, db_default="web")),
        migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())]),
    ]
"""
