from django.db import migrations


def forget(apps, schema_editor):
    pass


class Migration(migrations.Migration):
    dependencies = [("probe", "0001_initial")]
    operations = [migrations.RunPython(forget)]
