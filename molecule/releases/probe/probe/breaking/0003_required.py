from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("probe", "0002_renamed")]
    operations = [migrations.AddField("visit", "place", models.TextField(default="pier"))]
