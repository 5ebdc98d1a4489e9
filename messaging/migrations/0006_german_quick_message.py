from django.db import migrations


def translate(apps, schema_editor):
    untouched = {"key": "speak-german", "label": "Please speak German", "label_de": ""}
    apps.get_model("messaging", "QuickMessage").objects.filter(**untouched).update(label_de="Bitte sprich Deutsch")


class Migration(migrations.Migration):
    dependencies = (("messaging", "0005_conversation_state"),)
    operations = (migrations.RunPython(translate, migrations.RunPython.noop),)
