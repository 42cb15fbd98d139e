from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("probe", "0001_initial")]
    operations = [migrations.RunSQL("SELECT pg_sleep(600)", migrations.RunSQL.noop)]
