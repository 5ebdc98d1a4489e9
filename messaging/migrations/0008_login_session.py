import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("messaging", "0007_indexes_of_lists"),)

    operations = (
        migrations.CreateModel(
            name="LoginSession",
            fields=[
                ("digest", models.CharField(editable=False, max_length=32, primary_key=True, serialize=False)),
                ("session_key", models.CharField(editable=False, max_length=40)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        # The table stays for servers of the version before, which write to it when somebody signs out.
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("EndedSession")]),
    )
