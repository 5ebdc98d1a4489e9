import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import messaging.models


class Migration(migrations.Migration):
    dependencies = (
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("messaging", "0008_login_session"),
    )

    operations = (
        migrations.CreateModel(
            name="AddressBlock",
            fields=[
                (
                    "address",
                    models.CharField(
                        editable=False, max_length=24, primary_key=True, serialize=False, verbose_name="address"
                    ),
                ),
                (
                    "until",
                    models.DateTimeField(
                        db_index=True,
                        default=messaging.models.a_day_from_now,
                        validators=[messaging.models.no_longer_than_an_address_is_known],
                        verbose_name="until",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created"
                    ),
                ),
            ],
            options={
                "verbose_name": "block of an address",
                "verbose_name_plural": "blocks of addresses",
                "ordering": ("-until",),
            },
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("until", models.DateTimeField(default=messaging.models.a_pause_from_now, verbose_name="until")),
                (
                    "since",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="since"),
                ),
                (
                    "by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="paused by",
                    ),
                ),
            ],
            options={
                "verbose_name": "pause of new conversations",
                "verbose_name_plural": "pause of new conversations",
            },
        ),
        migrations.AddField(
            model_name="conversation",
            name="address",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=24),
        ),
        migrations.AddField(
            model_name="erasedconversation",
            name="blocked_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
    )
