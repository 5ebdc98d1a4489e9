"""The previous version on the schema of this one, as in a rollout, before an undo, or during a move between modes."""

import re
import runpy
from pathlib import Path

import pytest
from django.db import Error, connection, models, transaction
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from tests.support.paths import ROOT
from tests.support.schema_changes import APP, EXPANDING, contractions, use

# Each migration that removes something, with the release since which no code has used it.
CONTRACTIONS: dict[str, str] = {}
FILES = sorted(path.stem for path in (ROOT / "messaging/migrations").glob("[0-9]*.py"))
# The migrations whose models must work on the schema after the last migration: all of them or, if there are
# contractions, those from the one before the last contraction on.
SUPPORTED = FILES[max([0, *(FILES.index(name) - 1 for name in CONTRACTIONS)]) :]
HARMFUL: list[Operation] = [
    ops.RemoveField("message", "quick"),
    ops.RenameField("message", "quick", "shortcut"),
    ops.DeleteModel("block"),
    ops.RenameModel("message", "note"),
    ops.AlterModelTable("message", "notes"),
    ops.AddField("message", "mood", models.CharField(max_length=10, default="")),
    ops.AlterField("message", "principal", models.CharField(max_length=8)),
    ops.AlterField("message", "created_at", models.DateTimeField()),
    ops.AlterField("conversation", "claimed_until", models.DateTimeField(default="2026-01-01T00:00Z")),
    ops.AddConstraint("message", models.CheckConstraint(condition=models.Q(author="me"), name="mine")),
    ops.RunSQL("ALTER TABLE messaging_message DROP quick"),
    ops.SeparateDatabaseAndState(database_operations=[ops.RemoveField("message", "quick")]),
]


@pytest.fixture
def loader() -> MigrationLoader:
    return MigrationLoader(None)


def test_what_a_version_before_still_uses_is_left_alone(loader: MigrationLoader) -> None:
    found = {}
    for name in FILES[1:]:
        migration = loader.graph.nodes[APP, name]
        before = loader.project_state((APP, name), at_end=False)
        if contracted := contractions(migration.operations, before):
            found[name] = contracted
    assert found.keys() == CONTRACTIONS.keys(), found
    released = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(CONTRACTIONS.values()) <= set(released)


@pytest.mark.django_db
@pytest.mark.parametrize("version", SUPPORTED)
def test_the_models_of_a_version_before_work_on_the_schema_of_this_one(loader: MigrationLoader, version: str) -> None:
    for model in loader.project_state((APP, version)).apps.get_app_config(APP).get_models():
        use(model)


@pytest.mark.django_db
@pytest.mark.parametrize("operation", HARMFUL, ids=lambda operation: type(operation).__name__)
def test_what_breaks_the_version_before_is_found(loader: MigrationLoader, operation: Operation) -> None:
    before, after = loader.project_state(), loader.project_state()
    assert len(contractions([operation], after)) == 1

    def meet() -> None:
        used = before.apps.get_app_config(APP).get_models()
        with connection.schema_editor() as editor:
            operation.database_forwards(APP, editor, before, after)
        for model in used:
            use(model)

    with pytest.raises(Error):
        transaction.atomic(meet)()


def test_the_next_version_of_the_rollouts_test_expands(loader: MigrationLoader, tmp_path: Path) -> None:
    file = tmp_path / "expanding.py"
    file.write_text(EXPANDING.format(last=FILES[-1]))
    assert contractions(runpy.run_path(str(file))["Migration"].operations, loader.project_state()) == []
