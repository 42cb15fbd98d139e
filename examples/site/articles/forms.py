from django import forms
from django.utils.translation import gettext_lazy as _

from articles.models import Article, Comment


class ArticleForm(forms.ModelForm):
    # A browser's If-Match: the text that this form was opened with.
    content_hash = forms.CharField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = Article
        fields = ["title", "summary", "body", "status"]
        widgets = {
            "summary": forms.Textarea(attrs={"rows": 3}),
            "body": forms.Textarea(attrs={"rows": 16}),
        }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["content_hash"].initial = self.instance.content_hash

    def clean_content_hash(self):
        if self.instance.pk and self.cleaned_data["content_hash"] != self.instance.content_hash:
            raise forms.ValidationError(
                _("The article was changed while you were editing it. Copy your text and open the form again.")
            )
        return self.instance.content_hash


class CommentForm(forms.ModelForm):
    class Meta:
        model = Comment
        fields = ["body"]
        widgets = {"body": forms.Textarea(attrs={"rows": 5})}
