from django.db import migrations


def add(apps, schema_editor):
    QuickMessage = apps.get_model("messaging", "QuickMessage")
    QuickMessage.objects.get_or_create(
        key="speak-german", defaults={"label": "Please speak German", "content": "speak german"}
    )


class Migration(migrations.Migration):
    dependencies = (("messaging", "0001_initial"),)
    operations = (migrations.RunPython(add, migrations.RunPython.noop),)
