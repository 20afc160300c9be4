/* What any process costs: start, nothing, exit. */
int main(void)
{
	return 0;
}
