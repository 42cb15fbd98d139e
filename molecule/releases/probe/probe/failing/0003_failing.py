from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("probe", "0002_harmless")]
    operations = [migrations.RunSQL("SELECT 1 / 0", migrations.RunSQL.noop)]
