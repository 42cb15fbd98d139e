from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("probe", "0001_initial")]
    operations = [
        migrations.AddField("visit", "berth", models.TextField(null=True)),
        migrations.AddIndex("visit", models.Index(fields=["token"], name="probe_visit_token")),
    ]
